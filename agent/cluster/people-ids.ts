import type { UserActor } from '../../contract/index.ts'
import type { State } from './state.ts'

const unknownUid = 1_000_000_000

/**
 * User and group id of a person's containers. Somebody without one (their work was submitted before there were any, or
 * they are gone) has one of their name, far above all that are given.
 */
export function uidOf({ users }: Pick<State, 'users'>, name: string): number {
  const uid = users.get(name)?.uid
  if (uid !== undefined) return uid
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return unknownUid + (hash % unknownUid)
}

/** Teams of a person. */
export function teamsOf({ teams }: Pick<State, 'teams'>, name: string): string[] {
  return [...teams.values()].filter(({ members }) => Object.hasOwn(members, name)).map((team) => team.name)
}

/** A person as they are by now, for what is done in their name; undefined: they are gone, or locked out. */
export function personOf(state: Pick<State, 'users' | 'teams'>, name: string): UserActor | undefined {
  const user = state.users.get(name)
  if (!user || user.disabled) return undefined
  const teams = Object.fromEntries(
    [...state.teams.values()].flatMap(({ name: team, members }) => {
      const rank = Object.hasOwn(members, name) ? members[name] : undefined
      return rank ? [[team, rank] as const] : []
    }),
  )
  return { kind: 'user', name, rank: user.rank, teams }
}
