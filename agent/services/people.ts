import { type Action, type Actor, permits, ProblemError, type SignedIn, type User } from '../../contract/index.ts' // prettier-ignore
import type { Cluster } from '../cluster/cluster.ts'
import { sha256Of } from '../cluster/identity/seal.ts'
import type { State, UserRow } from '../cluster/state.ts'
import { askedFor, type AskedObject, demand } from './access.ts'
import { TokenReader } from './actors.ts'
import { BackOff, RateLimited } from './back-off.ts'
import type { ServiceDeps } from './context.ts'
import type { Directories } from './directories.ts'
import { admit, type Origin, signInAs } from './sign-in.ts'
import type { TokenUse } from './token-use.ts'
import { userView } from './users.ts'

/** Each check of a password takes tens of MiB and milliseconds: a flood of sign-ins must not take the agent along. */
const mostChecks = 8

export interface PeopleService {
  signIn(credentials: { user: string; password: string }, origin: Origin): Promise<SignedIn>
  signOut(actor: Actor, token: string): Promise<void>
  /** One's own; `token` is the one that this request came with, which goes on. */
  changePassword(
    actor: Actor,
    change: { old: string; new: string },
    token: string,
    origin: Origin,
  ): Promise<void>
  me(actor: Actor): User
  mayI(actor: Actor, action: Action, object?: AskedObject): { allowed: boolean }
  /** Whose bearer token or cookie this is. Throws `unauthenticated`, or `no_leader` when that cannot be known now. */
  actorOf(token: string): Promise<Actor>
  /** Who that is now, as far as this agent knows; undefined when it ended. Long streams ask now and then. */
  stillThere(token: string): Actor | undefined
}

export function createPeople(deps: ServiceDeps, use: TokenUse, directories: Directories): PeopleService {
  const { cluster, now = Date.now } = deps
  const backOff = new BackOff(now)
  const passwords = checker(deps, backOff)
  const tokens = new TokenReader(now, (sha256) => use.used(sha256))
  return {
    async signIn({ user, password }, origin) {
      backOff.check(user, origin.address, () => hasComeFrom(cluster.state(), user, origin.address))
      await cluster.barrier()
      const vouched = await directories.check(user, password).catch((error: unknown) => {
        if (error instanceof ProblemError && error.code === 'bad_credentials')
          backOff.failed(user, origin.address)
        throw error
      })
      if (vouched) {
        backOff.succeeded(user, origin.address)
        return admit(cluster, vouched.provider, vouched.person, { origin, now: now() })
      }
      await passwords.check(user, password, origin.address)
      return signInAs(cluster, user, origin, now())
    },
    async signOut(actor, token) {
      demand(actor, 'self:read')
      if (actor.kind !== 'user') throw new ProblemError('forbidden', 'only people sign in and out')
      await cluster.propose({ type: 'token.delete', sha256: sha256Of(token) }, actor)
    },
    async changePassword(actor, change, token, { address }) {
      const name = personWithPassword(actor)
      backOff.check(name, address)
      await cluster.barrier()
      const { source } = await passwords.check(name, change.old, address)
      if (source !== undefined)
        throw new ProblemError('conflict', `your password is kept by ${source}: change it there`)
      if (change.new.normalize('NFC') === change.old.normalize('NFC')) throw samePassword
      const password_hash = await passwords.hash(change.new)
      const keep = sha256Of(token)
      await cluster.propose({ type: 'user.password', name, password_hash, must_change: false, keep }, actor)
    },
    me(actor) {
      demand(actor, 'self:read')
      const state = cluster.state()
      const row = actor.kind === 'user' ? state.users.get(actor.name) : undefined
      if (!row) throw new ProblemError('forbidden', 'only people have an account')
      return userView(state, row, true)
    },
    mayI(actor, action, object) {
      demand(actor, 'self:read')
      if (object) {
        const asked = askedFor(cluster.state(), object)
        return { allowed: asked !== undefined && permits(actor, action, asked) }
      }
      const own = actor.kind === 'task' ? { workload: actor.workload } : {}
      return { allowed: permits(actor, action, own) }
    },
    actorOf: (token) => actorOf(cluster, tokens, token),
    stillThere: (token) => tokens.read(cluster.state(), token),
  }
}

/** Whoever guesses elsewhere does not keep them from their desk. */
const hasComeFrom = ({ tokens }: State, user: string, address: string): boolean =>
  tokens.some((token) => token.user === user && token.address === address)

async function actorOf(cluster: Cluster, tokens: TokenReader, token: string): Promise<Actor> {
  const known = tokens.read(cluster.state(), token)
  if (known) return known
  // It may have been made through another agent a moment ago.
  await cluster.barrier()
  const actor = tokens.read(cluster.state(), token)
  if (!actor) throw new ProblemError('unauthenticated', 'the token is not known or has expired')
  return actor
}

/** Checks and makes hashes, a few at once. */
function checker({ cluster, verifyPassword, hashPassword }: ServiceDeps, backOff: BackOff) {
  let working = 0
  async function bounded<T>(work: () => Promise<T>): Promise<T> {
    if (working >= mostChecks) throw new RateLimited('too many people sign in at once', 1)
    working++
    try {
      return await work()
    } finally {
      working--
    }
  }
  return {
    hash: (password: string) => bounded(() => hashPassword(password)),
    /** The row of whom the password is. */
    async check(user: string, password: string, address: string): Promise<UserRow> {
      const row = cluster.state().users.get(user)
      // Whose password is kept elsewhere has no hash here; the same work is done all the same.
      const right = await bounded(() => verifyPassword(password, row?.password_hash || undefined))
      if (!row || !right) {
        backOff.failed(user, address)
        throw new ProblemError('bad_credentials')
      }
      backOff.succeeded(user, address)
      return row
    },
  }
}

/** A token that may do only some things must not become one that may do all by a new password. */
function personWithPassword(actor: Actor): string {
  demand(actor, 'self:read')
  if (actor.kind !== 'user') throw new ProblemError('forbidden', 'only people have a password')
  if (actor.scopes)
    throw new ProblemError('forbidden', 'a token cannot change the password of its owner', {
      hint: 'Sign in, and change it then.',
    })
  return actor.name
}

const samePassword = new ProblemError('invalid_request', 'the new password is the old one', {
  errors: [{ pointer: '/new', message: 'expected another one than before' }],
})
