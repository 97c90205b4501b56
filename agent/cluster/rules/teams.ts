import { isFinal, ProblemError } from '../../../contract/index.ts'
import type { PeopleCommand } from '../commands/people.ts'
import type { TeamRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { checkNew, retire } from './names.ts'
import { checkVersion } from './versions.ts'

type Of<T extends PeopleCommand['type']> = Extract<PeopleCommand, { type: T }>

/** Each membership is part of the row, which is written whole. */
const mostMembers = 5000

export function put(tx: Transaction, { name, change, if_version }: Of<'team.put'>): void {
  const before = tx.get('teams', name)
  checkVersion(`the team ${name}`, before?.resource_version ?? 0, if_version)
  if (!before) {
    checkNew(tx, 'team', name)
    tx.put('teams', name, { name, description: '', members: {}, groups: [], created_at: tx.at, ...change })
    return tx.event('team.created', subject(name), `${tx.who} made the team ${name}`)
  }
  const next = { ...before, ...change }
  const same = next.description === before.description && next.groups.join('\n') === before.groups.join('\n')
  if (same) return
  tx.put('teams', name, next)
  tx.event('team.changed', subject(name), `${tx.who} changed the team ${name}`)
}

/** Nothing may run that is charged to a team which is no more. */
export function remove(tx: Transaction, { name }: Of<'team.delete'>): void {
  tx.need('teams', name, 'team')
  const open = [...tx.state.experiments.values()].filter(
    ({ spec, state }) => spec.team === name && !isFinal(state),
  )
  if (open.length)
    throw new ProblemError('conflict', `${open.length} experiments of the team ${name} have not ended`, {
      hint: `Stop them first: ${open.slice(0, 5).map(({ id }) => id).join(', ')}`,
    }) // prettier-ignore
  tx.delete('teams', name)
  retire(tx, 'team', name)
  tx.event('team.deleted', subject(name), `${tx.who} deleted the team ${name}`)
}

export function setMember(tx: Transaction, { team, user, rank }: Of<'team.member'>): void {
  const row = tx.need('teams', team, 'team')
  if (rank !== null) tx.need('users', user, 'user')
  const before = Object.hasOwn(row.members, user) ? row.members[user] : undefined
  if (rank === null && before === undefined)
    throw new ProblemError('not_found', `${user} is no member of the team ${team}`)
  if (before === rank) return
  const { [user]: _, ...others } = row.members
  if (rank === null) return left(tx, row, others, user)
  if (Object.keys(others).length >= mostMembers)
    throw new ProblemError('conflict', `a team has at most ${mostMembers} members`)
  tx.put('teams', team, { ...row, members: { ...others, [user]: rank } })
  tx.event(
    'team.member_set',
    subject(team),
    `${tx.who} made ${user} ${rank === 'admin' ? 'an' : 'a'} ${rank} of the team ${team}`,
  )
}

function left(tx: Transaction, row: TeamRow, members: TeamRow['members'], user: string): void {
  tx.put('teams', row.name, { ...row, members })
  const message = `${user} is a member of the team ${row.name} no longer`
  tx.event('team.member_removed', subject(row.name), message)
}

/** Out of all of them. */
export function leaveTeams(tx: Transaction, user: string): void {
  for (const row of tx.state.teams.values()) {
    if (!Object.hasOwn(row.members, user)) continue
    const { [user]: _, ...others } = row.members
    left(tx, row, others, user)
  }
}

/**
 * Work that is charged to a team is submitted by its members alone. Checked where the log decides, too: the submit may
 * have been on its way while its owner left the team.
 */
export function checkOwnTeam(tx: Transaction, owner: string, team: string | undefined): void {
  const user = tx.get('users', owner)
  if (!user || user.rank === 'admin' || team === undefined) return
  const members: TeamRow['members'] = tx.get('teams', team)?.members ?? {}
  const rank = Object.hasOwn(members, owner) ? members[owner] : undefined
  if (rank === 'admin' || rank === 'member') return
  throw new ProblemError('forbidden', `${owner} is no member of the team ${team}, which this would be charged to`, {
    hint: 'Leave the team out, or ask an admin of the team to take you in.',
  }) // prettier-ignore
}

const subject = (id: string) => ({ kind: 'team', id }) as const
