import type { Readable } from 'node:stream'
import { ProblemError } from '../../contract/index.ts'
import { blobHandler } from './blob-handler.ts'
import type { LocalBlobs, Range } from './blobs.ts'
import type { Blobs } from './store.ts'
import {
  ask,
  chunksOf,
  discard,
  type Group,
  living,
  othersOf,
  pause,
  placesFor,
  send,
  streamOf,
} from './peer-io.ts'

export interface ReplicatedBlobsOptions extends Group {
  readonly local: LocalBlobs
  /** Silence after which a transfer is given up, ms. */
  readonly idleMs?: number
  /** First wait before another round over the nodes, ms. */
  readonly retryMs?: number
  /** How long a download waits for a holder to come back once it has begun, ms. */
  readonly patienceMs?: number
}

/** A holder that has begun to answer. */
interface Source {
  readonly node: string
  readonly size: number
  readonly body: Readable
}

/** Files by digest on this agent and, copied on request, on others. */
export class ReplicatedBlobs implements Blobs {
  readonly local: LocalBlobs
  readonly #group: Group
  readonly #idleMs: number
  readonly #retryMs: number
  readonly #patienceMs: number
  readonly #closed = new AbortController()

  constructor(options: ReplicatedBlobsOptions) {
    this.local = options.local
    this.#group = options
    this.#idleMs = options.idleMs ?? 30_000
    this.#retryMs = options.retryMs ?? 250
    this.#patienceMs = options.patienceMs ?? 30_000
    options.peers.serve('/blobs/', blobHandler(options.local))
  }

  put(source: Readable, promised?: { readonly sha256?: string }) {
    return this.local.put(source, promised)
  }

  size(sha256: string) {
    return this.local.size(sha256)
  }

  read(sha256: string, range?: Range) {
    return this.local.read(sha256, range)
  }

  delete(sha256: string) {
    return this.local.delete(sha256)
  }

  async replicate(sha256: string, signal?: AbortSignal, together = this.#group.self): Promise<string[]> {
    const here = this.local.touch(sha256)
    if (here === undefined) throw new ProblemError('not_found', `No file ${sha256} on this agent`)
    const until = this.#until(signal)
    for (let wait = this.#retryMs; ; wait = Math.min(wait * 2, 5_000)) {
      if (othersOf(this.#group).length === 0) return [this.#group.self]
      for (const node of placesFor(this.#group, together)) {
        if (until.aborted) break
        if (await this.#give(node, sha256, here, until)) return [this.#group.self, node]
      }
      if (!(await pause(wait, until))) return [this.#group.self]
    }
  }

  /** True when the node has it on its disk now. */
  async #give(node: string, sha256: string, bytes: number, signal: AbortSignal): Promise<boolean> {
    const path = `/blobs/${sha256}`
    try {
      const head = await ask(this.#group.peers, node, { method: 'HEAD', path, signal }).catch(absent)
      if (head) discard(head)
      if (Number(head?.headers['x-size']) === bytes) return true
      discard(
        await send(this.#group, node, path, this.local.chunks(sha256), { idleMs: this.#idleMs, signal }),
      )
      return true
    } catch (error) {
      // The receiver read to the end and found another digest: sending it elsewhere would not help.
      if (error instanceof ProblemError && error.code === 'invalid_request')
        throw new ProblemError('internal', `The copy of ${sha256} on this agent is damaged`, { cause: error })
      return false
    }
  }

  /** `bytes` is the size of the whole file whatever range is read. */
  async open(
    sha256: string,
    holders: readonly string[],
    range: Range = { start: 0, end: Infinity },
  ): Promise<{ bytes: number; body: Readable }> {
    const here = await this.local.size(sha256)
    if (here !== undefined) return { bytes: here, body: this.local.read(sha256, range) }
    const gone = new AbortController()
    const until = this.#until(gone.signal)
    const first = await this.#find(sha256, this.#sources(holders), range, until)
    const end = Math.min(range.end, first.size - 1)
    const body = streamOf(() => this.#relay(sha256, holders, first, { start: range.start, end }, until))
    // A body that nobody ever reads must let go of its holder as well.
    body.once('close', () => {
      gone.abort()
      first.body.destroy()
    })
    return { bytes: first.size, body }
  }

  /** The named holders, then every other node: what is known of the holders may be old. */
  #sources(holders: readonly string[]): string[] {
    const others = othersOf(this.#group)
    const named = living(this.#group, holders.filter((node) => others.includes(node))) // prettier-ignore
    return [...new Set([...named, ...living(this.#group, others), ...others])]
  }

  /** The first of the nodes that answers with the file. */
  async #find(sha256: string, nodes: readonly string[], range: Range, signal: AbortSignal): Promise<Source> {
    const headers = { range: `bytes=${range.start}-${Number.isFinite(range.end) ? range.end : ''}` }
    let unreachable = 0
    for (const node of nodes) {
      try {
        const request = { method: 'GET', path: `/blobs/${sha256}`, headers, signal } as const
        const { headers: answered, body } = await ask(this.#group.peers, node, request)
        body.on('error', () => undefined)
        return { node, size: Number(answered['x-size']), body }
      } catch (error) {
        signal.throwIfAborted()
        if (!isAbsent(error)) unreachable += 1
      }
    }
    if (unreachable === 0) throw new ProblemError('not_found', `No agent has the file ${sha256}`)
    throw new ProblemError('node_unreachable', `No reachable agent has the file ${sha256}`)
  }

  /** Bytes from one holder after the other: where one dies, the next goes on at the same byte. */
  async *#relay(
    sha256: string,
    holders: readonly string[],
    first: Source,
    range: Range,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    let at = range.start
    let source: Source | undefined = first
    let failed: string[] = []
    let progress = performance.now()
    while (at <= range.end) {
      const before = at
      let problem: unknown = new ProblemError('node_unreachable', `The file ${sha256} broke off`)
      try {
        const nodes = this.#sources(holders).filter((node) => !failed.includes(node))
        source ??= await this.#find(sha256, [...nodes, ...failed], { start: at, end: range.end }, signal)
        for await (const chunk of chunksOf(source.body, this.#idleMs, signal)) {
          at += chunk.length
          yield chunk
        }
      } catch (error) {
        signal.throwIfAborted()
        problem = error
      }
      failed = source ? [source.node] : failed
      source = undefined
      if (at > before) progress = performance.now()
      else if (isAbsent(problem) || performance.now() - progress > this.#patienceMs) throw problem
      else await pause(this.#retryMs, signal)
    }
  }

  /** Have it on this disk, from whichever holder has it. */
  async fetch(sha256: string, holders: readonly string[]): Promise<void> {
    if (this.local.touch(sha256) !== undefined) return
    const { body } = await this.open(sha256, holders)
    try {
      await this.local.put(body, { sha256 })
    } finally {
      body.destroy()
    }
  }

  /** Gives up what is under way. */
  async close(): Promise<void> {
    this.#closed.abort(new ProblemError('node_unreachable', 'This agent is stopping'))
    await this.local.close()
  }

  #until(signal?: AbortSignal): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal
  }
}

const isAbsent = (error: unknown) => error instanceof ProblemError && error.code === 'not_found'

function absent(error: unknown): undefined {
  if (!isAbsent(error)) throw error
}
