import { type Actor, type MembershipInput, Name, permits, ProblemError, type Team, type TeamInput } from '../../contract/index.ts' // prettier-ignore
import type { TeamRow } from '../cluster/state.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { present } from './present.ts'

type Reading = { consistency: Consistency }

export interface TeamService {
  list(actor: Actor, query: PageQuery & Reading): Promise<Page<Team>>
  get(actor: Actor, name: string, query: Reading): Promise<Team>
  put(actor: Actor, name: string, input: TeamInput, ifVersion?: number): Promise<Team>
  delete(actor: Actor, name: string): Promise<void>
  setMember(actor: Actor, team: string, user: string, input: MembershipInput): Promise<Team>
  removeMember(actor: Actor, team: string, user: string): Promise<void>
}

export function createTeams({ cluster }: ServiceDeps): TeamService {
  const need = (name: string): TeamRow => {
    const row = cluster.state().teams.get(name)
    if (!row)
      throw new ProblemError('not_found', `there is no team ${name}`, { hint: 'See `submarine team list`.' })
    return row
  }
  return {
    async list(actor, query) {
      demand(actor, 'team:read')
      await settled(cluster, query.consistency)
      const rows = [...cluster.state().teams.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
      const view = (row: TeamRow) => teamView(row, actor)
      return pageOf(rows, query, 'ascending', ({ name }) => name, view, cluster.status().applied)
    },
    async get(actor, name, { consistency }) {
      demand(actor, 'team:read')
      await settled(cluster, consistency)
      return teamView(need(name), actor)
    },
    async put(actor, name, input, ifVersion) {
      demand(actor, 'team:edit', { team: name })
      await cluster.barrier()
      const row = cluster.state().teams.get(name)
      // Whoever says which groups of a directory come in, says who comes in without being asked.
      if (!row || input.groups !== undefined) demand(actor, 'team:admin', { team: name })
      if (!row) checkName(name)
      const if_version = ifVersion === undefined ? {} : { if_version: ifVersion }
      await cluster.propose({ type: 'team.put', name, change: present(input), ...if_version }, actor)
      return teamView(need(name), actor)
    },
    async delete(actor, name) {
      demand(actor, 'team:admin', { team: name })
      await cluster.propose({ type: 'team.delete', name }, actor)
    },
    async setMember(actor, team, user, { rank }) {
      demand(actor, 'team:edit', { team })
      await cluster.propose({ type: 'team.member', team, user, rank }, actor)
      return teamView(need(team), actor)
    },
    async removeMember(actor, team, user) {
      const leaves = actor.kind === 'user' && actor.name === user
      demand(actor, leaves ? 'team:read' : 'team:edit', { team })
      await cluster.propose({ type: 'team.member', team, user, rank: null }, actor)
    },
  }
}

function checkName(name: string): void {
  const message = Name.safeParse(name).error?.issues[0]?.message
  if (message !== undefined)
    throw new ProblemError('invalid_request', undefined, { errors: [{ pointer: '/path/team', message }] })
}

/** Groups of a directory may tell how an organisation is made up: they are for admins. */
function teamView({ members, groups, ...row }: TeamRow, actor: Actor): Team {
  const list = Object.entries(members).map(([user, rank]) => ({ user, rank }))
  return {
    ...row,
    members: list.toSorted((a, b) => (a.user < b.user ? -1 : 1)),
    groups: permits(actor, 'team:admin') ? [...groups] : [],
  }
}
