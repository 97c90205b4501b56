import { type Action, type Actor, holdsResources, permits, ProblemError, type SignedIn, type User } from '../../contract/index.ts' // prettier-ignore
import { newToken, sha256Of } from '../cluster/identity/seal.ts'
import { type State, type TaskRow, type UserRow } from '../cluster/state.ts'
import { demand } from './access.ts'
import { BackOff, RateLimited } from './back-off.ts'
import type { ServiceDeps } from './context.ts'

const sessionMs = 30 * 24 * 3600 * 1000
/** Each check of a password takes tens of MiB and milliseconds: a flood of sign-ins must not take the agent along. */
const mostChecks = 8

export interface PeopleService {
  signIn(credentials: { user: string; password: string }, address: string): Promise<SignedIn>
  signOut(actor: Actor, token: string): Promise<void>
  me(actor: Actor): User
  mayI(actor: Actor, action: Action): { allowed: boolean }
  /** Whose bearer token or cookie this is. Throws `unauthenticated`, or `no_leader` when that cannot be known now. */
  actorOf(token: string): Promise<Actor>
  /** Is the token still good, as far as this agent knows? Long streams ask now and then. */
  stillValid(token: string): boolean
}

export function createPeople({ cluster, verifyPassword, now = Date.now }: ServiceDeps): PeopleService {
  const backOff = new BackOff(now)
  const tokens = new TokenReader(now)
  let checking = 0

  async function check(user: string, password: string): Promise<UserRow | undefined> {
    if (checking >= mostChecks) throw new RateLimited('too many people sign in at once', 1)
    checking++
    try {
      const row = cluster.state().users.get(user)
      return (await verifyPassword(password, row?.password_hash)) ? row : undefined
    } finally {
      checking--
    }
  }

  return {
    async signIn({ user, password }, address) {
      backOff.check(user, address)
      await cluster.barrier()
      const row = await check(user, password)
      if (!row) {
        backOff.failed(user, address)
        throw new ProblemError('bad_credentials')
      }
      backOff.succeeded(user, address)
      const { token, sha256 } = newToken()
      const expires_at = new Date(now() + sessionMs).toISOString()
      const { name, rank } = row
      await cluster.propose({ type: 'token.create', sha256, user, expires_at }, { kind: 'user', name, rank })
      return { user: name, rank, token, expires_at }
    },
    async signOut(actor, token) {
      demand(actor, 'self:read')
      if (actor.kind !== 'user') throw new ProblemError('forbidden', 'only people sign in and out')
      await cluster.propose({ type: 'token.delete', sha256: sha256Of(token) }, actor)
    },
    me(actor) {
      demand(actor, 'self:read')
      const row = actor.kind === 'user' ? cluster.state().users.get(actor.name) : undefined
      if (!row) throw new ProblemError('forbidden', 'only people have an account')
      return { name: row.name, rank: row.rank, created_at: row.created_at }
    },
    mayI(actor, action) {
      demand(actor, 'self:read')
      const own = actor.kind === 'task' ? { workload: actor.workload } : {}
      return { allowed: permits(actor, action, own) }
    },
    async actorOf(token) {
      const known = tokens.read(cluster.state(), token)
      if (known) return known
      // It may have been made through another agent a moment ago.
      await cluster.barrier()
      const actor = tokens.read(cluster.state(), token)
      if (!actor) throw new ProblemError('unauthenticated', 'the token is not known or has expired')
      return actor
    },
    stillValid: (token) => tokens.read(cluster.state(), token) !== undefined,
  }
}

/** Tokens of people by digest and expiry; tokens of tasks by the attempt that runs now. */
class TokenReader {
  readonly #now: () => number
  /** Digest → task id, to spare the walk over all tasks. Only a hint: the row decides. */
  readonly #taskOf = new Map<string, string>()

  constructor(now: () => number) {
    this.#now = now
  }

  read(state: State, token: string): Actor | undefined {
    const sha256 = sha256Of(token)
    const row = state.tokens.get(sha256)
    if (row) {
      const user = state.users.get(row.user)
      if (!user || Date.parse(row.expires_at) <= this.#now()) return undefined
      if (row.only === 'monitoring') return { kind: 'monitor' }
      return { kind: 'user', name: user.name, rank: user.rank }
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
