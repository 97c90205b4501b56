import { type Actor, mostSecretBytes, permits, ProblemError, type Secret, type SecretInput, type Sharing } from '../../contract/index.ts' // prettier-ignore
import { askedOfSecret, secretContext, secretId } from '../cluster/secret-access.ts'
import type { SecretRow } from '../cluster/state.ts'
import { demand, demandOfOwn } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'

export interface SecretService {
  list(actor: Actor, query: PageQuery & { consistency: Consistency }): Promise<Page<Secret>>
  get(actor: Actor, ref: string, query: { consistency: Consistency }): Promise<Secret>
  /** Makes it, or replaces what it is. */
  put(actor: Actor, ref: string, input: SecretInput): Promise<Secret>
  delete(actor: Actor, ref: string): Promise<void>
  share(actor: Actor, ref: string, sharing: Sharing): Promise<Secret>
}

export function createSecrets({ cluster, seal }: ServiceDeps): SecretService {
  /** Who may not know of it gets the same answer as for none. */
  const known = (actor: Actor, ref: string): SecretRow => {
    const row = cluster.state().secrets.get(idOf(actor, ref))
    if (!row || !permits(withoutScopes(actor), 'secret:read', askedOfSecret(row))) throw unknown(ref)
    return row
  }
  const editable = async (actor: Actor, ref: string): Promise<SecretRow> => {
    demandOfOwn(actor, 'secret:read')
    await cluster.barrier()
    const row = known(actor, ref)
    demand(actor, 'secret:edit', askedOfSecret(row))
    return row
  }
  const shown = (id: string): Secret => {
    const row = cluster.state().secrets.get(id)
    if (!row) throw new ProblemError('not_found', `the secret ${id} was deleted meanwhile`)
    return secretView(row)
  }
  return {
    async list(actor, query) {
      demandOfOwn(actor, 'secret:read')
      await settled(cluster, query.consistency)
      const rows = [...cluster.state().secrets.values()]
        .filter((row) => permits(actor, 'secret:read', askedOfSecret(row)))
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      return pageOf(rows, query, 'ascending', ({ id }) => id, secretView, cluster.status().applied)
    },
    async get(actor, ref, { consistency }) {
      demandOfOwn(actor, 'secret:read')
      await settled(cluster, consistency)
      return secretView(known(actor, ref))
    },
    async put(actor, ref, input) {
      const value = bytesOf(input)
      demand(actor, 'secret:create', { team: input.team ?? null })
      await cluster.barrier()
      const id = idOf(actor, ref)
      const before = cluster.state().secrets.get(id)
      if (before) demand(actor, 'secret:edit', askedOfSecret(known(actor, ref)))
      else if (actor.kind !== 'user' || !id.startsWith(`${actor.name}/`)) throw unknown(ref)
      const { kind = before?.kind ?? 'generic', description = before?.description ?? '' } = input
      const principal = principalOf(kind, input, before, value)
      const team = before ? before.team : (input.team ?? null)
      if (team !== null && !cluster.state().teams.has(team)) throw new ProblemError('not_found', `there is no team ${team}`)
      const [owner = '', name = ''] = id.split('/')
      const version = (before?.version ?? 0) + 1
      const sealed = await seal(value.toString('base64'), secretContext(id, version))
      const bytes = value.length
      await cluster.propose({ type: 'secret.put', id, owner, name, team, kind, ...principal, description, version, bytes, sealed }, actor)
      return shown(id)
    },
    async delete(actor, ref) {
      const { id } = await editable(actor, ref)
      await cluster.propose({ type: 'secret.delete', id }, actor)
    },
    async share(actor, ref, sharing) {
      const { id } = await editable(actor, ref)
      await cluster.propose({ type: 'secret.share', id, sharing }, actor)
      return shown(id)
    },
  } // prettier-ignore
}

function withoutScopes(actor: Actor): Actor {
  if (actor.kind !== 'user') return actor
  const { scopes: _, ...person } = actor
  return person
}

const idPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\/[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

function idOf(actor: Actor, ref: string): string {
  const id = secretId(actor.kind === 'user' ? actor.name : actor.kind, ref)
  if (idPattern.test(id)) return id
  const message = 'expected NAME or OWNER/NAME'
  throw new ProblemError('invalid_request', message, { errors: [{ pointer: '/secret', message }] })
}

const unknown = (ref: string) => new ProblemError('not_found', `there is no secret ${ref}`)

function bytesOf({ value, encoding }: SecretInput): Buffer {
  const bytes = Buffer.from(value, encoding === 'base64' ? 'base64' : 'utf8')
  const isWhole = encoding === 'text' || bytes.toString('base64') === value
  if (isWhole && bytes.length <= mostSecretBytes) return bytes
  const message = isWhole ? `expected at most ${mostSecretBytes / 1024} KiB` : 'expected base64'
  throw new ProblemError('invalid_request', message, { errors: [{ pointer: '/value', message }] })
}

/** How every keytab begins: 5, and the version of its format. */
const isKeytab = (bytes: Buffer) => bytes[0] === 5 && (bytes[1] === 1 || bytes[1] === 2)

function principalOf(
  kind: Secret['kind'],
  input: SecretInput,
  before: SecretRow | undefined,
  value: Buffer,
): { principal?: string } {
  if (kind !== 'keytab') {
    if (input.principal === undefined) return {}
    const message = 'only a keytab has a principal: expected the kind keytab'
    throw new ProblemError('invalid_request', message, { errors: [{ pointer: '/principal', message }] })
  }
  const principal = input.principal ?? before?.principal
  if (principal === undefined) return {}
  if (isKeytab(value)) return { principal }
  const message = 'expected a keytab, the file that kadmin, ktutil or ktpass writes'
  throw new ProblemError('invalid_request', message, { errors: [{ pointer: '/value', message }] })
}

/** What is sealed stays here. */
const secretView = ({ sealed: _, ...row }: SecretRow): Secret => row
