import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { Agent, fetch, type Response } from 'undici'
import { z } from 'zod'
import { type ImageReference, ProblemError } from '../../../contract/index.ts'
import type { RegistryRow, State } from '../../cluster/state.ts'
import { guarded } from '../../outgoing.ts'
import type { Manifest, Range, Shelf } from './registry.ts'

export interface UpstreamOptions {
  readonly state: () => Pick<State, 'registries'>
  /** Opens what is sealed, here or on a voter. */
  readonly credentials: (row: RegistryRow) => Promise<string>
}

const Secret = z.object({ user: z.string(), password: z.string() })
const Token = z.object({ token: z.string().optional(), access_token: z.string().optional() })

const accepted = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')
const mostManifest = 8 << 20
const hub = 'docker.io'

/** What is open to one registry; made anew when what is known of the registry changes. */
interface Session {
  readonly row: RegistryRow
  readonly dispatcher: Agent
  readonly schemes: readonly string[]
  /** By repository: what a bearer token was given for. */
  readonly tokens: Map<string, string>
  secret: Promise<z.infer<typeof Secret> | null> | undefined
}

/**
 * Private registries, asked by the agent in the engine's place: their credentials and certificate authorities never
 * enter the engine or its configuration, and one that is not known to the engine needs no restart of it.
 */
export class Upstream implements Shelf {
  readonly #options: UpstreamOptions
  readonly #sessions = new Map<string, Session>()

  constructor(options: UpstreamOptions) {
    this.#options = options
  }

  /** What the engine asks our own registry for instead; undefined when nothing is known of the image's registry. */
  path({ registry, repository }: ImageReference): string | undefined {
    const host = registry ?? hub
    if (!this.#options.state().registries.has(host)) return undefined
    return `upstream/${encodeHost(host)}/${repository}`
  }

  /** The digest that a tag has now. */
  async digestOf(
    { registry, repository, tag = 'latest' }: ImageReference,
    signal?: AbortSignal,
  ): Promise<string> {
    return (await this.#manifest(registry ?? hub, repository, tag, signal)).digest
  }

  manifest(path: string, reference: string): Promise<Manifest> {
    const { host, repository } = decode(path)
    return this.#manifest(host, repository, reference)
  }

  async blob(path: string, digest: string, range?: Range): Promise<{ bytes: number; body: Readable }> {
    const { host, repository } = decode(path)
    const { start = 0, end = Infinity } = range ?? {}
    const whole = start === 0 && end === Infinity
    const headers: Record<string, string> = whole
      ? {}
      : { range: `bytes=${start}-${Number.isFinite(end) ? end : ''}` }
    const response = await this.#ask(host, repository, `blobs/${digest}`, headers)
    const body = response.body ? Readable.fromWeb(response.body) : Readable.from([])
    if (!whole && response.status === 200) {
      body.destroy()
      throw new ProblemError('invalid_request', `${host} sends whole blobs only`)
    }
    const length = Number(response.headers.get('content-length') ?? NaN)
    const total = Number(/\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1] ?? length)
    if (Number.isSafeInteger(total)) return { bytes: total, body }
    body.destroy()
    throw new ProblemError('invalid_request', `${host} does not say how large ${digest} is`)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(({ dispatcher }) => dispatcher.destroy()))
  }

  async #manifest(
    host: string,
    repository: string,
    reference: string,
    signal?: AbortSignal,
  ): Promise<Manifest> {
    const response = await this.#ask(host, repository, `manifests/${reference}`, { accept: accepted }, signal)
    const parts: Buffer[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += (chunk as Uint8Array).length
      if (bytes > mostManifest)
        throw new ProblemError('invalid_request', `${host} sent no manifest of ${repository}`)
      parts.push(Buffer.from(chunk as Uint8Array))
    }
    const body = Buffer.concat(parts)
    const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`
    if (reference.startsWith('sha256:') && reference !== digest)
      throw new ProblemError('invalid_request', `${host} sent something else than ${reference}`)
    return { digest, media_type: response.headers.get('content-type') ?? '', body }
  }

  /** A request as whoever we are there; a first refusal says how to prove it. */
  async #ask(
    host: string,
    repository: string,
    what: string,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Response> {
    const session = this.#session(host)
    const send = async (authorization: string | undefined) =>
      this.#send(session, `/v2/${repository}/${what}`, { ...headers, ...(authorization ? { authorization } : {}) }, signal) // prettier-ignore
    let response = await send(session.tokens.get(repository))
    if (response.status === 401) {
      const authorization = await this.#prove(session, repository, response)
      if (authorization) response = await send(authorization)
    }
    if (response.ok) return response
    await response.body?.cancel()
    throw refusal(session.row, repository, response.status)
  }

  #session(host: string): Session {
    const row = this.#options.state().registries.get(host)
    if (!row) throw new ProblemError('not_found', `nothing is known of the registry ${host}`)
    const known = this.#sessions.get(host)
    if (known?.row.resource_version === row.resource_version) return known
    void known?.dispatcher.close()
    const connect = {
      timeout: 10_000,
      ...(row.ca ? { ca: [row.ca] } : {}),
      rejectUnauthorized: !row.insecure,
    }
    const dispatcher = new Agent({ connect: guarded(connect), headersTimeout: 60_000, bodyTimeout: 60_000 })
    const schemes = row.insecure ? ['https', 'http'] : ['https']
    const made = { row, dispatcher, schemes, tokens: new Map<string, string>(), secret: undefined }
    this.#sessions.set(host, made)
    return made
  }

  async #send(
    { row, dispatcher, schemes }: Session,
    path: string,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Response> {
    const host = row.host === hub ? 'registry-1.docker.io' : row.host
    let last: unknown
    for (const scheme of schemes) {
      try {
        // Storage elsewhere is told by a redirect; fetch leaves our credentials out there.
        return await fetch(`${scheme}://${host}${path}`, {
          headers,
          dispatcher,
          ...(signal ? { signal } : {}),
        })
      } catch (error) {
        signal?.throwIfAborted()
        last = error
      }
    }
    const cause = (last as Error).cause
    const why = cause instanceof Error ? cause.message : String(last)
    throw new ProblemError('node_unreachable', `the registry ${row.host} cannot be reached: ${why}`, {
      cause: last,
    })
  }

  /** The authorization that the registry asks for; undefined when we have nothing to show. */
  async #prove(session: Session, repository: string, refused: Response): Promise<string | undefined> {
    const challenge = refused.headers.get('www-authenticate') ?? ''
    await refused.body?.cancel()
    session.secret ??= this.#secret(session.row)
    // Opened anew at the next need: the voters may have been away.
    session.secret.catch(() => (session.secret = undefined))
    const secret = await session.secret
    const basic = secret
      ? `Basic ${Buffer.from(`${secret.user}:${secret.password}`).toString('base64')}`
      : undefined
    const authorization = /^basic/i.test(challenge)
      ? basic
      : await this.#bearer(session, repository, challenge, basic)
    if (authorization) session.tokens.set(repository, authorization)
    return authorization
  }

  async #secret(row: RegistryRow): Promise<z.infer<typeof Secret> | null> {
    return row.sealed === null ? null : Secret.parse(JSON.parse(await this.#options.credentials(row)))
  }

  async #bearer(
    { dispatcher, row }: Session,
    repository: string,
    challenge: string,
    basic: string | undefined,
  ): Promise<string | undefined> {
    const part = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(challenge)?.[1]
    const realm = part('realm')
    if (!/^bearer/i.test(challenge) || realm === undefined || !URL.canParse(realm)) return undefined
    const url = new URL(realm)
    // A password goes to where TLS leads, unless an admin said that this registry has none.
    if (url.protocol !== 'https:' && !row.insecure) return undefined
    const service = part('service')
    if (service !== undefined) url.searchParams.set('service', service)
    url.searchParams.set('scope', part('scope') ?? `repository:${repository}:pull`)
    const response = await fetch(url, { dispatcher, headers: basic ? { authorization: basic } : {} })
    const parsed = Token.safeParse(await response.json().catch(() => undefined))
    const token = parsed.data?.token ?? parsed.data?.access_token
    return response.ok && token ? `Bearer ${token}` : undefined
  }
}

function refusal({ host, user }: RegistryRow, repository: string, status: number): ProblemError {
  if (status === 404)
    return new ProblemError('not_found', `the registry ${host} has no such image in ${repository}`)
  if (status !== 401 && status !== 403) return new ProblemError('node_unreachable', `the registry ${host} answered HTTP ${status}`) // prettier-ignore
  const who = user === null ? 'nobody in particular' : `the user ${user}`
  return new ProblemError('forbidden', `the registry ${host} refuses ${repository} to ${who}`, {
    hint: `Give it another user and password: \`submarine registry add ${host} --user NAME --password-stdin\`.`,
  })
}

/** A repository's name may hold neither ":" nor "[" nor capitals. */
const encodeHost = (host: string) => Buffer.from(host).toString('hex')

function decode(path: string): { host: string; repository: string } {
  const [first = '', ...rest] = path.split('/')
  return { host: Buffer.from(first, 'hex').toString(), repository: rest.join('/') }
}
