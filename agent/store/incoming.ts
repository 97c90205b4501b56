import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ProblemError } from '../../contract/index.ts'
import type { LocalBlobs, Range } from './blobs.ts'
import { Fetch } from './fetch.ts'
import { ask, discard, type Group, living, othersOf, ranked, streamOf } from './peer-io.ts'
import type { Space } from './store.ts'

export interface IncomingOptions extends Group {
  readonly local: LocalBlobs
  /** The agent's data folder. */
  readonly data: string
  readonly space: Space
  /** Silence after which another source is asked, ms. */
  readonly idleMs?: number
  readonly retryMs?: number
  /** How long a fetch may stand still before it fails, ms. */
  readonly patienceMs?: number
  /** How long a fetch that nobody reads goes on, ms. */
  readonly lingerMs?: number
}

/** So many nodes at once read a file from one; who else comes reads from them. */
const readersAtOnce = 1
/** How long a source that has no more than its asker waits to get more, ms. */
const growMs = 2000
const day = 24 * 60 * 60_000

/**
 * Large files on their way here, each fetched once however many read it, and given on to other agents while they
 * come: the first holder is read by one node, that one by the next, so all get it in little more than one transfer.
 * What a crash leaves is gone on with.
 */
export class Incoming {
  readonly #options: IncomingOptions
  readonly #folder: string
  readonly #fetches = new Map<string, Fetch>()
  /** Who reads which file from here just now. */
  readonly #readers = new Map<string, string[]>()
  readonly #closed = new AbortController()

  private constructor(options: IncomingOptions, folder: string) {
    this.#options = options
    this.#folder = folder
    options.peers.serve('/incoming/', (from, request, response) => this.#serve(from, request, response))
  }

  static async open(options: IncomingOptions): Promise<Incoming> {
    const folder = path.join(options.data, 'blobs', 'incoming')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(folder)) {
      const { mtimeMs } = await stat(path.join(folder, name))
      if (Date.now() - mtimeMs > day) await rm(path.join(folder, name), { force: true })
    }
    return new Incoming(options, folder)
  }

  /** Read it from here, or as it comes from its holders and whoever else is getting it. */
  async read(
    sha256: string,
    bytes: number,
    holders: readonly string[],
    range: Range = { start: 0, end: Infinity },
  ): Promise<{ bytes: number; body: Readable }> {
    const { local } = this.#options
    if (local.touch(sha256) !== undefined) return { bytes, body: local.read(sha256, range) }
    const fetch = this.#fetches.get(sha256) ?? this.#begin(sha256, bytes, holders)
    const end = Math.min(range.end, bytes - 1)
    return { bytes, body: streamOf((signal) => fetch.read({ start: range.start, end }, signal)) }
  }

  /** Gives up what is under way; it is gone on with at the next start. */
  async close(): Promise<void> {
    this.#closed.abort(new ProblemError('node_unreachable', 'This agent is stopping'))
    await Promise.all([...this.#fetches.values()].map((fetch) => fetch.ended))
  }

  #begin(sha256: string, bytes: number, holders: readonly string[]): Fetch {
    const {
      local,
      space,
      idleMs = 15_000,
      retryMs = 500,
      patienceMs = 60_000,
      lingerMs = 30_000,
    } = this.#options
    const fetch = new Fetch({
      sha256,
      bytes,
      file: path.join(this.#folder, sha256),
      source: (at, failed, signal) => this.#source(sha256, at, holders, failed, signal),
      publish: (file) => local.adopt(file, sha256),
      published: (range) => local.chunks(sha256, range),
      space,
      signal: this.#closed.signal,
      timing: { idleMs, retryMs, patienceMs, lingerMs },
    })
    this.#fetches.set(sha256, fetch)
    void fetch.ended.then(() => this.#fetches.delete(sha256))
    return fetch
  }

  /** Whoever gives us the rest of it: those who have it and nobody else to serve, those they name, then any. */
  async #source(
    sha256: string,
    at: number,
    holders: readonly string[],
    failed: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<{ node: string; body: Readable }> {
    const { self } = this.#options
    const others = othersOf(this.#options)
    const known = ranked(self, living(this.#options, holders.filter((node) => others.includes(node)))) // prettier-ignore
    const first = [...known.filter((node) => !failed.has(node)), ...known.filter((node) => failed.has(node))]
    const asked = new Set([self])
    for (const todo = [...first]; todo.length > 0;) {
      const node = todo.shift() ?? ''
      if (asked.has(node)) continue
      asked.add(node)
      const answer = await this.#ask(node, sha256, at, false, signal)
      if (answer && 'body' in answer) return { node, body: answer.body }
      if (answer) todo.unshift(...answer.others.filter((other) => !failed.has(other)))
    }
    // Nobody is free, or all are where we are: the holders, and whoever may have become one, must take one more.
    for (const node of new Set([...first, ...others])) {
      const answer = await this.#ask(node, sha256, at, true, signal)
      if (answer && 'body' in answer) return { node, body: answer.body }
    }
    throw new ProblemError('node_unreachable', `no reachable agent has the file ${sha256}`)
  }

  async #ask(
    node: string,
    sha256: string,
    at: number,
    insist: boolean,
    signal: AbortSignal,
  ): Promise<{ body: Readable } | { others: string[] } | undefined> {
    const headers = { range: `bytes=${at}-`, ...(insist ? { 'x-insist': '1' } : {}) }
    try {
      const response = await ask(this.#options.peers, node, { method: 'GET', path: `/incoming/${sha256}`, headers, signal }) // prettier-ignore
      response.body.on('error', () => undefined)
      if (response.status !== 303) return { body: response.body }
      discard(response)
      return { others: String(response.headers['x-others'] ?? '').split(',').filter(Boolean) } // prettier-ignore
    } catch {
      signal.throwIfAborted()
      return undefined
    }
  }

  async #serve(from: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const sha256 = /^\/incoming\/([0-9a-f]{64})$/.exec(request.url ?? '')?.[1]
    const at = /^bytes=(\d+)-$/.exec(request.headers.range ?? 'bytes=0-')?.[1]
    if (request.method !== 'GET' || sha256 === undefined || at === undefined)
      throw new ProblemError('not_found')
    const readers = this.#readers.get(sha256) ?? []
    if (readers.length >= readersAtOnce && request.headers['x-insist'] === undefined)
      return void response.writeHead(303, { 'x-others': [...new Set(readers)].join(',') }).end()
    // Taken before anything is awaited, so that two who ask at once do not both get it.
    this.#readers.set(sha256, [...readers, from])
    try {
      const body = await this.#rest(sha256, Number(at))
      response.writeHead(206)
      await pipeline(body, response).catch(() => response.destroy())
    } finally {
      const left = this.#readers.get(sha256) ?? []
      left.splice(left.indexOf(from), 1)
      if (left.length) this.#readers.set(sha256, left)
      else this.#readers.delete(sha256)
    }
  }

  /** From `at` on, if there is more than that or soon will be: else two that wait for each other would never end. */
  async #rest(sha256: string, at: number): Promise<Readable> {
    const { local } = this.#options
    if (local.touch(sha256) !== undefined) return local.read(sha256, { start: at, end: Infinity })
    const fetch = this.#fetches.get(sha256)
    if (!fetch || !(await fetch.growsBeyond(at, growMs))) throw new ProblemError('not_found')
    return streamOf((signal) => fetch.read({ start: at, end: fetch.bytes - 1 }, signal))
  }
}
