import { type Actor, type MadeToken, permits, ProblemError, scopesWithin, type Token, type TokenInput, type UserActor } from '../../contract/index.ts' // prettier-ignore
import { newToken } from '../cluster/identity/seal.ts'
import { tokenId } from '../cluster/rules/tokens.ts'
import type { TokenRow } from '../cluster/state.ts'
import { demand } from './access.ts'
import type { ServiceDeps } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { newTokenId } from './sign-in.ts'
import type { TokenUse } from './token-use.ts'

export interface TokenService {
  list(actor: Actor, query: PageQuery & { user?: string | undefined }): Promise<Page<Token>>
  create(actor: Actor, input: TokenInput, address: string): Promise<MadeToken>
  delete(actor: Actor, id: string): Promise<void>
}

type Entry = readonly [sha256: string, row: TokenRow]
const dayMs = 24 * 3600 * 1000

export function createTokens({ cluster, now = Date.now }: ServiceDeps, use: TokenUse): TokenService {
  const viewFor =
    (actor: UserActor) =>
    ([sha256, row]: Entry): Token =>
      tokenView(sha256, row, { current: actor.token, used: use.lastUsed(sha256) })
  const good = ([, row]: Entry) => Date.parse(row.expires_at) > now()
  return {
    async list(actor, { user, ...query }) {
      demand(actor, 'token:read')
      const person = onlyPeople(actor)
      const whose = user ?? person.name
      if (whose !== person.name) demand(actor, 'user:admin')
      await cluster.barrier()
      const { users, tokens } = cluster.state()
      if (whose !== '*' && !users.has(whose)) throw new ProblemError('not_found', `there is no user ${whose}`)
      const rows = [...tokens].filter((entry) => (whose === '*' || entry[1].user === whose) && good(entry))
      const sorted = rows.toSorted((a, b) => (keyOf(a) > keyOf(b) ? -1 : 1))
      return pageOf(sorted, query, 'descending', keyOf, viewFor(person), cluster.status().applied)
    },
    async create(actor, { name, scopes, days }, address) {
      demand(actor, 'token:create')
      const person = onlyPeople(actor)
      await cluster.barrier()
      const own = [...cluster.state().tokens].find((entry) => tokenId(...entry) === person.token)
      checkWithin(person, scopes)
      const until = new Date(now() + days * dayMs).toISOString()
      // A token that was lent out must not live on by one that it made.
      const expires_at = own?.[1].kind === 'api' && own[1].expires_at < until ? own[1].expires_at : until
      const { token, sha256 } = newToken()
      const more = { kind: 'api', id: newTokenId(), name, scopes, address } as const
      await cluster.propose({ type: 'token.create', sha256, user: person.name, expires_at, ...more }, actor)
      const row = cluster.state().tokens.get(sha256)
      if (!row) throw new ProblemError('not_found', 'the token was made, and ended since')
      return { ...viewFor(person)([sha256, row]), token }
    },
    async delete(actor, id) {
      demand(actor, 'token:delete')
      const person = onlyPeople(actor)
      await cluster.barrier()
      const found = [...cluster.state().tokens].find((entry) => tokenId(...entry) === id)
      const mine = found?.[1].user === person.name || permits(actor, 'user:admin')
      if (!found || !mine)
        throw new ProblemError('not_found', `there is no token ${id}`, {
          hint: 'See `submarine token list`.',
        })
      await cluster.propose({ type: 'token.delete', sha256: found[0] }, actor)
    },
  }
}

function onlyPeople(actor: Actor): UserActor {
  if (actor.kind === 'user') return actor
  throw new ProblemError('forbidden', 'only people have tokens')
}

function checkWithin({ scopes: own }: UserActor, scopes: readonly string[]): void {
  if (!own || scopesWithin(scopes, own)) return
  throw new ProblemError(
    'forbidden',
    `this token allows ${own.join(', ')}, and can make none that allows more`,
    {
      hint: 'Sign in to make tokens of any scope.',
    },
  )
}

const keyOf = ([sha256, { created_at }]: Entry) => `${created_at} ${sha256.slice(0, 12)}`

function tokenView(
  sha256: string,
  row: TokenRow,
  { current, used }: { current: string | undefined; used: string | undefined },
): Token {
  const id = tokenId(sha256, row)
  const stored = row.last_used_at ?? null
  return {
    id,
    kind: row.only ?? row.kind ?? 'sign-in',
    user: row.user,
    name: row.name ?? '',
    scopes: row.only ? ['monitoring:read'] : [...(row.scopes ?? ['*'])],
    created_at: row.created_at,
    expires_at: row.expires_at,
    last_used_at: used !== undefined && used > (stored ?? '') ? used : stored,
    address: row.address ?? null,
    current: id === current,
  }
}
