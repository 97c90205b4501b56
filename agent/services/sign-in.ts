import { ProblemError, type SignedIn } from '../../contract/index.ts'
import { randomBytes } from 'node:crypto'
import type { Cluster } from '../cluster/cluster.ts'
import { newToken } from '../cluster/identity/seal.ts'
import type { IdentityProviderRow } from '../cluster/state.ts'
import type { Person } from './identity/person.ts'

const signInHours = 30 * 24

/** From where somebody signs in, and with what. */
export interface Origin {
  readonly address: string
  /** What the program calls itself. */
  readonly program?: string | undefined
}

/** A new sign-in of a person whose identity was checked. */
export async function signInAs(
  cluster: Cluster,
  user: string,
  { address, program }: Origin,
  now: number,
  hours = signInHours,
): Promise<SignedIn> {
  const row = cluster.state().users.get(user)
  if (!row) throw new ProblemError('bad_credentials')
  if (row.disabled)
    throw new ProblemError('forbidden', `the account of ${user} is disabled`, {
      hint: 'Ask an admin of the cluster.',
    })
  const { token, sha256 } = newToken()
  const expires_at = new Date(now + hours * 3_600_000).toISOString()
  const more = {
    id: newTokenId(),
    address: address.slice(0, 64),
    ...(program ? { name: cleaned(program) } : {}),
  }
  await cluster.propose(
    { type: 'token.create', sha256, user, expires_at, ...more },
    { kind: 'user', name: row.name, rank: row.rank },
  )
  const { rank, must_change } = row
  return { user, rank, token, expires_at, ...(must_change ? { must_change } : {}) }
}

/** Somebody for whom an identity provider vouches: made known here, then signed in. */
export async function admit(
  cluster: Cluster,
  provider: IdentityProviderRow,
  { id, ...person }: Person,
  { origin, now }: { readonly origin: Origin; readonly now: number },
): Promise<SignedIn> {
  const { name } = await cluster.propose(
    { type: 'user.sync', provider: provider.name, external_id: id, ...person },
    { kind: 'system' },
  )
  return signInAs(cluster, name, origin, now, provider.settings.session_hours)
}

/** What people call a new token by. */
export const newTokenId = (): string => `tok-${randomBytes(6).toString('hex')}`

/** It comes from a header, which may hold anything. */
const cleaned = (program: string) => program.replaceAll(/[^\x20-\x7e]/g, '').slice(0, 100)
