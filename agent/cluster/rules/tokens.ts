import { ProblemError } from '../../../contract/index.ts'
import type { PeopleCommand } from '../commands/people.ts'
import type { TokenRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { ensureUid } from './uids.ts'

type Of<T extends PeopleCommand['type']> = Extract<PeopleCommand, { type: T }>
type Entry = readonly [sha256: string, token: TokenRow]

/** The state is kept in memory: a script that signs in again and again must not fill it. */
const mostSignIns = 200
const mostApiTokens = 200

/** What people call a token by. */
export const tokenId = (sha256: string, { id }: Pick<TokenRow, 'id'>): string => id ?? sha256.slice(0, 12)

export function create(tx: Transaction, command: Of<'token.create'>): void {
  const { type: _, sha256, ...token } = command
  const user = tx.need('users', token.user, 'user')
  if (user.disabled) throw new ProblemError('forbidden', `the account of ${user.name} is disabled`)
  for (const [key, other] of tx.state.tokens) if (other.expires_at <= tx.at) tx.delete('tokens', key)
  const same = [...tx.state.tokens].filter(([, other]) => other.user === token.user && kindOf(other) === kindOf(token))
  if (kindOf(token) === 'api') return createApi(tx, sha256, token, same)
  const oldest = same.toSorted(([, a], [, b]) => a.resource_version - b.resource_version)
  for (const [key] of oldest.slice(0, Math.max(0, same.length + 1 - mostSignIns))) tx.delete('tokens', key)
  tx.put('tokens', sha256, { ...token, created_at: tx.at })
  ensureUid(tx, user.name)
  tx.put('users', user.name, { ...tx.need('users', user.name, 'user'), last_sign_in: tx.at })
  tx.event('user.signed_in', { kind: 'user', id: user.name }, `${user.name} signed in`)
} // prettier-ignore

function createApi(
  tx: Transaction,
  sha256: string,
  token: Omit<Of<'token.create'>, 'type' | 'sha256'>,
  same: readonly Entry[],
): void {
  if (same.length >= mostApiTokens)
    throw new ProblemError('conflict', `${token.user} has ${same.length} API tokens, and may have no more`, {
      hint: 'Revoke some that are not in use: `submarine token list`.',
    })
  tx.put('tokens', sha256, { ...token, created_at: tx.at })
  const { name = '', user, expires_at } = token
  const message = `${user} made the API token ${name}, good until ${expires_at}`
  tx.event('token.created', { kind: 'token', id: tokenId(sha256, token) }, message)
}

const kindOf = ({ kind, only }: Pick<TokenRow, 'kind' | 'only'>) => only ?? kind ?? 'sign-in'

export function remove(tx: Transaction, { sha256 }: Of<'token.delete'>): void {
  const token = tx.get('tokens', sha256)
  if (!token) return
  tx.delete('tokens', sha256)
  const own = tx.actor === `user:${token.user}`
  // Signing out is no news, but for somebody else's doing.
  if (own && kindOf(token) === 'sign-in') return
  const what = kindOf(token) === 'sign-in' ? 'a sign-in' : `the token ${token.name ?? tokenId(sha256, token)}`
  const message = `${tx.who} ended ${what} of ${token.user}`
  tx.event('token.revoked', { kind: 'token', id: tokenId(sha256, token) }, message)
}

/** Agents tell now and then; a token that is gone meanwhile stays so. */
export function used(tx: Transaction, { used: all }: Of<'tokens.used'>): void {
  for (const { sha256, at } of all) {
    const token = tx.get('tokens', sha256)
    if (token && (token.last_used_at ?? '') < at) tx.put('tokens', sha256, { ...token, last_used_at: at })
  }
}

/** Those of a person that `which` picks; all of them by default. */
export function endTokens(
  tx: Transaction,
  user: string,
  which: (entry: Entry) => boolean = () => true,
): void {
  for (const entry of tx.state.tokens)
    if (entry[1].user === user && which(entry)) tx.delete('tokens', entry[0])
}
