import { type Actor, type MadeUser, permits, ProblemError, type User, type UserInput, type UserPatch } from '../../contract/index.ts' // prettier-ignore
import type { UserChange } from '../cluster/commands/people.ts'
import { newPassword } from '../cluster/identity/seal.ts'
import type { State, UserRow } from '../cluster/state.ts'
import { demand } from './access.ts'
import { teamsOf } from './actors.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { present } from './present.ts'

type Reading = { consistency: Consistency }

export interface UserService {
  list(actor: Actor, query: PageQuery & Reading): Promise<Page<User>>
  get(actor: Actor, name: string, query: Reading): Promise<User>
  create(actor: Actor, input: UserInput): Promise<MadeUser>
  edit(actor: Actor, name: string, patch: UserPatch, ifVersion?: number): Promise<User>
  delete(actor: Actor, name: string): Promise<void>
  /** Answers the one-time password. */
  resetPassword(actor: Actor, name: string): Promise<{ one_time_password: string }>
}

export function createUsers({ cluster, hashPassword }: ServiceDeps): UserService {
  const need = (name: string): UserRow => {
    const row = cluster.state().users.get(name)
    if (!row)
      throw new ProblemError('not_found', `there is no user ${name}`, { hint: 'See `submarine user list`.' })
    return row
  }
  return {
    async list(actor, query) {
      demand(actor, 'user:read')
      await settled(cluster, query.consistency)
      const state = cluster.state()
      const rows = [...state.users.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
      const view = (row: UserRow) => userView(state, row, seesAll(actor, row))
      return pageOf(rows, query, 'ascending', ({ name }) => name, view, cluster.status().applied)
    },
    async get(actor, name, { consistency }) {
      demand(actor, 'user:read')
      await settled(cluster, consistency)
      const row = need(name)
      return userView(cluster.state(), row, seesAll(actor, row))
    },
    async create(actor, { name, rank, password, source, ...rest }) {
      demand(actor, 'user:admin')
      const isLocal = source === 'local'
      if (!isLocal && password !== undefined) throw passwordElsewhere(source)
      const one_time_password = isLocal && password === undefined ? newPassword() : null
      const password_hash = isLocal ? await hashPassword(password ?? one_time_password ?? '') : ''
      const how = {
        ...(isLocal ? {} : { source }),
        ...(one_time_password === null ? {} : { must_change: true }),
      }
      await cluster.propose(
        { type: 'user.create', name, rank, password_hash, ...how, ...present(rest) },
        actor,
      )
      return { ...userView(cluster.state(), need(name), true), one_time_password }
    },
    async edit(actor, name, patch, ifVersion) {
      demand(actor, 'user:admin')
      await cluster.barrier()
      need(name)
      const change: UserChange = present(patch)
      const if_version = ifVersion === undefined ? {} : { if_version: ifVersion }
      await cluster.propose({ type: 'user.edit', name, change, ...if_version }, actor)
      return userView(cluster.state(), need(name), true)
    },
    async delete(actor, name) {
      demand(actor, 'user:admin')
      await cluster.propose({ type: 'user.delete', name }, actor)
    },
    async resetPassword(actor, name) {
      demand(actor, 'user:admin')
      await cluster.barrier()
      need(name)
      const one_time_password = newPassword()
      const password_hash = await hashPassword(one_time_password)
      await cluster.propose({ type: 'user.password', name, password_hash, must_change: true }, actor)
      return { one_time_password }
    },
  }
}

const passwordElsewhere = (source: string) =>
  new ProblemError('invalid_request', undefined, {
    errors: [{ pointer: '/password', message: `expected none: ${source} checks it` }],
  })

const seesAll = (actor: Actor, { name }: UserRow): boolean =>
  permits(actor, 'user:admin') || (actor.kind === 'user' && actor.name === name)

/** `all`: with what is for themselves and admins. Nobody is shown a hash. */
export function userView(state: State, row: UserRow, all: boolean): User {
  const { name, rank, display_name, email, source, disabled, must_change, uid, created_at } = row
  const teams = Object.entries(teamsOf(state, name) ?? {}).map(([team, inTeam]) => ({ team, rank: inTeam }))
  return {
    name,
    rank,
    ...(display_name ? { display_name } : {}),
    disabled: disabled ?? false,
    teams: teams.toSorted((a, b) => (a.team < b.team ? -1 : 1)),
    created_at,
    ...(all && email ? { email } : {}),
    ...(all && uid !== undefined ? { uid } : {}),
    ...(all ? { source: source ?? 'local', must_change: must_change ?? false, last_sign_in: row.last_sign_in ?? null } : {}),
    resource_version: row.resource_version,
  } // prettier-ignore
}
