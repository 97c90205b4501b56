import { type Actor, holdsResources, type TeamRank, type UserActor } from '../../contract/index.ts'
import { sha256Of } from '../cluster/identity/seal.ts'
import { tokenId } from '../cluster/rules/tokens.ts'
import type { State, TaskRow, TokenRow, UserRow } from '../cluster/state.ts'

type Teams = Readonly<Record<string, TeamRank>>

const byUser = new WeakMap<State['teams'], ReadonlyMap<string, Teams>>()
/** What somebody is in which team. Every request asks, so it is worked out once for a state of the teams. */
export function teamsOf({ teams }: Pick<State, 'teams'>, user: string): Teams | undefined {
  let known = byUser.get(teams)
  if (!known) byUser.set(teams, (known = membershipsOf(teams)))
  return known.get(user)
}

function membershipsOf(teams: State['teams']): ReadonlyMap<string, Teams> {
  const made = new Map<string, Record<string, TeamRank>>()
  for (const { name, members } of teams.values())
    for (const [user, rank] of Object.entries(members)) {
      const own = made.get(user)
      if (own) own[name] = rank
      else made.set(user, { [name]: rank })
    }
  return made
}

/** The person of a token, as the state knows them. */
export function personOf(state: State, user: UserRow, token: TokenRow, sha256: string): UserActor {
  const teams = teamsOf(state, user.name)
  // A program's token was made by somebody who had a password of their own.
  const must_change = user.must_change && token.kind !== 'api'
  return {
    kind: 'user',
    name: user.name,
    rank: user.rank,
    ...(teams ? { teams } : {}),
    ...(token.scopes ? { scopes: token.scopes } : {}),
    token: tokenId(sha256, token),
    ...(must_change ? { must_change } : {}),
  }
}

/** Somebody who asked a while ago, as they are by now; anonymous when they are gone. */
export function asOfNow(state: State, actor: Actor): Actor {
  if (actor.kind !== 'user') return actor
  const row = state.users.get(actor.name)
  if (!row || row.disabled) return { kind: 'anonymous' }
  const { teams: _, ...rest } = actor
  const teams = teamsOf(state, actor.name)
  return { ...rest, rank: row.rank, ...(teams ? { teams } : {}) }
}

/** Tokens of people by digest and expiry; tokens of tasks by the attempt that runs now. */
export class TokenReader {
  readonly #now: () => number
  readonly #used: (sha256: string) => void
  /** Digest → task id, to spare the walk over all tasks. Only a hint: the row decides. */
  readonly #taskOf = new Map<string, string>()

  constructor(now: () => number, used: (sha256: string) => void) {
    this.#now = now
    this.#used = used
  }

  /** Undefined: nobody's, as far as this state knows. */
  read(state: State, token: string): Actor | undefined {
    const sha256 = sha256Of(token)
    const row = state.tokens.get(sha256)
    if (row) {
      const user = state.users.get(row.user)
      if (!user || user.disabled || Date.parse(row.expires_at) <= this.#now()) return undefined
      this.#used(sha256)
      return row.only === 'monitoring' ? { kind: 'monitor' } : personOf(state, user, row, sha256)
    }
    const task = this.#task(state, sha256)
    return task && { kind: 'task', task: task.id, workload: task.workload, attempt: task.attempt }
  }

  #task(state: State, sha256: string): TaskRow | undefined {
    const isIts = (row: TaskRow | undefined) => row?.token_sha256 === sha256 && holdsResources(row.state)
    const hint = state.tasks.get(this.#taskOf.get(sha256) ?? '')
    if (isIts(hint)) return hint
    const found = state.tasks.find(isIts)
    if (this.#taskOf.size >= 10_000) this.#taskOf.clear()
    if (found) this.#taskOf.set(sha256, found.id)
    return found
  }
}
