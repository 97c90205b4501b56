import { randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import { ProblemError } from '../../../contract/index.ts'

/** What is served under one first part of a repository's name. */
export interface Shelf {
  manifest(repository: string, reference: string): Promise<Manifest>
  /** `bytes`: of the whole blob, whatever range is read. */
  blob(repository: string, digest: string, range?: Range): Promise<{ bytes: number; body: Readable }>
}

export interface Manifest {
  readonly digest: string
  readonly media_type: string
  readonly body: Buffer
}

export interface Range {
  readonly start: number
  readonly end: number
}

const problemOf: Partial<Record<string, [number, string]>> = {
  not_found: [404, 'NOT_FOUND'],
  invalid_request: [400, 'UNSUPPORTED'],
  unauthenticated: [401, 'UNAUTHORIZED'],
  forbidden: [403, 'DENIED'],
}

/**
 * A read-only registry (OCI distribution 1.1) for the engine of this host: on loopback alone, which engines trust
 * without TLS, and behind a password of its own that only this process knows, since other people's programs reach
 * loopback too.
 */
export class LoopbackRegistry {
  readonly #server: Server
  readonly #shelves: Readonly<Record<string, Shelf>>
  readonly #log: Pick<Logger, 'warn'>
  readonly #password = randomBytes(24).toString('base64url')
  #port = 0
  #problem: { at: number; message: string } | undefined

  private constructor(shelves: Readonly<Record<string, Shelf>>, log: Pick<Logger, 'warn'>) {
    this.#shelves = shelves
    this.#log = log
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  static async listen(
    shelves: Readonly<Record<string, Shelf>>,
    log: Pick<Logger, 'warn'>,
  ): Promise<LoopbackRegistry> {
    const registry = new LoopbackRegistry(shelves, log)
    registry.#server.listen(0, '127.0.0.1')
    await once(registry.#server, 'listening')
    registry.#port = (registry.#server.address() as AddressInfo).port
    return registry
  }

  /** HOST:PORT as it begins the names of images pulled from here. */
  get host(): string {
    return `127.0.0.1:${this.#port}`
  }

  /** What the engine sends along. */
  get credentials(): {
    readonly username: string
    readonly password: string
    readonly serveraddress: string
  } {
    return { username: 'agent', password: this.#password, serveraddress: this.host }
  }

  /** What the engine was refused last, if that was after the time: engines tell the HTTP status alone. */
  problemSince(at: number): string | undefined {
    return this.#problem && this.#problem.at >= at ? this.#problem.message : undefined
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => undefined).resume()
    response.on('error', () => undefined)
    response.setHeader('docker-distribution-api-version', 'registry/2.0')
    try {
      if (!this.#knows(request)) {
        response.setHeader('www-authenticate', 'Basic realm="agent"')
        throw new ProblemError('unauthenticated', 'this registry serves the engine of its own agent only')
      }
      await this.#serve(request, response)
    } catch (error) {
      this.#refuse(error, request, response)
    }
  }

  #knows({ headers }: IncomingMessage): boolean {
    const given = Buffer.from(headers.authorization ?? '')
    const expected = Buffer.from(`Basic ${Buffer.from(`agent:${this.#password}`).toString('base64')}`)
    return given.length === expected.length && timingSafeEqual(given, expected)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '' } = request
    const path = decodeURIComponent((request.url ?? '/').split('?', 1)[0] ?? '/')
    if (method !== 'GET' && method !== 'HEAD')
      throw new ProblemError('invalid_request', 'this registry is read-only')
    if (/^\/v2\/?$/.test(path))
      return void response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    const [, shelf = '', repository = '', kind, reference = ''] =
      /^\/v2\/([a-z]+)\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? []
    const served = Object.hasOwn(this.#shelves, shelf) ? this.#shelves[shelf] : undefined
    if (!served) throw new ProblemError('not_found', `nothing is served at ${path}`)
    if (kind === 'manifests')
      return this.#manifest(await served.manifest(repository, reference), method, response)
    return this.#blob(served, repository, reference, request, response)
  }

  #manifest({ digest, media_type, body }: Manifest, method: string, response: ServerResponse): void {
    const headers = {
      'content-type': media_type,
      'content-length': body.length,
      'docker-content-digest': digest,
    }
    response.writeHead(200, headers).end(method === 'HEAD' ? undefined : body)
  }

  async #blob(
    shelf: Shelf,
    repository: string,
    digest: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { method, headers } = request
    const { range } = headers
    const asked = range === undefined ? undefined : /^bytes=(\d+)-(\d*)$/.exec(range)
    if (range !== undefined && !asked)
      throw new ProblemError('invalid_request', 'expected a range such as bytes=0-99')
    const start = Number(asked?.[1] ?? 0)
    const last = asked?.[2] ? Number(asked[2]) : Infinity
    const { bytes, body } = await shelf.blob(repository, digest, { start, end: last })
    const end = Math.min(last, bytes - 1)
    const answer = {
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
      'content-length': Math.max(0, end - start + 1),
    }
    if (start > bytes || (asked && start >= bytes)) {
      body.destroy()
      return void response.writeHead(416, { 'content-range': `bytes */${bytes}` }).end()
    }
    if (asked) response.writeHead(206, { ...answer, 'content-range': `bytes ${start}-${end}/${bytes}` })
    else response.writeHead(200, answer)
    if (method === 'HEAD') {
      body.destroy()
      return void response.end()
    }
    await pipeline(body, response).catch((error: Error) => {
      // The engine asks again for what it lacks; it may have left by itself, too.
      if (!request.socket.destroyed) this.#problem = { at: performance.now(), message: error.message }
      response.destroy()
    })
  }

  #refuse(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    const message = error instanceof Error ? error.message : String(error)
    const isFirst = error instanceof ProblemError && error.code === 'unauthenticated'
    if (!isFirst) this.#problem = { at: performance.now(), message }
    if (response.headersSent) return void response.destroy()
    const known = error instanceof ProblemError ? problemOf[error.code] : undefined
    const [status, code] = known ?? [503, 'UNAVAILABLE']
    if (!known) this.#log.warn({ err: error, path: request.url }, 'the engine could not be given an image')
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ errors: [{ code, message }] }))
  }
}
