import type { Logger } from 'pino'
import { z } from 'zod'
import { ProblemError } from '../../contract/index.ts'
import { Lane } from './disk.ts'
import {
  ask,
  discard,
  type Group,
  othersOf,
  pause,
  placesFor,
  readJson,
  send,
  unlessAborted,
} from './peer-io.ts'
import type { Placed, Sealed, StreamFile } from './stream-file.ts'

/** How long things wait, ms; tests make them short. */
export interface StreamTiming {
  /** Copying behind gathers what comes within this. */
  readonly delayMs: number
  /** First wait before another round over the nodes. */
  readonly retryMs: number
  /** Silence after which a peer is given up. */
  readonly idleMs: number
  /** Signs of life on an idle stream; well below `idleMs`. */
  readonly beatMs: number
}

const batchBytes = 4 * 1024 ** 2
const smallBytes = 1024 ** 2
/** How far the copy may lag while it is being made, before appends wait for it. */
const lagBytes = 8 * 1024 ** 2

/** A follower reads its whole copy before it answers a seal, and says nothing meanwhile. */
const digestMs = 10 * 60_000

const PlacedReply = z.object({ accepted: z.boolean(), size: z.int(), differs: z.boolean().optional() })

interface Waiting {
  readonly bytes: Buffer
  readonly copies: 1 | 2
  readonly resolve: (done: { size: number; copies: number }) => void
  readonly reject: (error: unknown) => void
}

/** What a follower's copy is known to be. */
interface Follower {
  readonly size: number
  /** What it has beyond `size` is unknown: the next write cuts it. */
  readonly cut: boolean
}

/** The only writer of one stream, on the node that runs the attempt: keeps a second node's copy equal to its own. */
export class StreamWriter {
  readonly #file: StreamFile
  readonly #name: string
  readonly #group: Group
  readonly #timing: StreamTiming
  readonly #log: Logger
  readonly #closed = new AbortController()
  readonly #waiting: Waiting[] = []
  readonly #local = new Lane()
  readonly #remote = new Lane()
  /** Only nodes that answered during this life: see `#meet`. */
  readonly #followers = new Map<string, Follower>()
  #current: string | undefined
  #copying: Promise<void> | undefined
  #pushing: Promise<unknown> | undefined

  constructor(file: StreamFile, name: string, group: Group, timing: StreamTiming, log: Logger) {
    this.#file = file
    this.#name = name
    this.#group = group
    this.#timing = timing
    this.#log = log
  }

  append(bytes: Buffer, copies: 1 | 2): Promise<{ size: number; copies: number }> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, copies, resolve, reject })
      // Whoever comes while a batch is under way joins the next one: one fsync and one request for all of them.
      void this.#local.run(() => this.#commit(this.#take()))
    })
  }

  #take(): Waiting[] {
    const copies = this.#waiting[0]?.copies
    let bytes = 0
    const more = this.#waiting.findIndex(
      (one) => one.copies !== copies || (bytes += one.bytes.length) > batchBytes,
    )
    return this.#waiting.splice(0, more === -1 ? Infinity : Math.max(1, more))
  }

  async #commit(batch: Waiting[]): Promise<void> {
    if (!batch[0]) return
    const bytes = Buffer.concat(batch.map((one) => one.bytes))
    try {
      const done = batch[0].copies === 2 ? await this.#commitTwice(bytes) : await this.#commitHere(bytes)
      for (const one of batch) one.resolve(done)
    } catch (error) {
      for (const one of batch) one.reject(error)
    }
  }

  async #commitHere(bytes: Buffer) {
    const size = await this.#file.append(bytes, false)
    this.#copyBehind()
    if (this.#pushing && this.#lag() > lagBytes) await this.#pushing
    return { size, copies: 1 }
  }

  /**
   * The follower first: what no second node took must not appear here either, or a repeated append would be there
   * twice. What a follower took and this disk then refused is cut there by the next write.
   */
  async #commitTwice(bytes: Buffer) {
    if (othersOf(this.#group).length === 0) return { size: await this.#file.append(bytes, true), copies: 1 }
    const start = this.#file.size
    const node = await this.#remote.run(() => this.#push({ batch: bytes, sync: true }))
    if (node === undefined) throw new ProblemError('node_unreachable', 'No second agent could be reached')
    try {
      return { size: await this.#file.append(bytes, true), copies: 2 }
    } catch (error) {
      this.#followers.set(node, { size: start, cut: true })
      throw error
    }
  }

  #copyBehind(): void {
    this.#copying ??= this.#copyLoop().finally(() => {
      this.#copying = undefined
    })
  }

  async #copyLoop(): Promise<void> {
    const { signal } = this.#closed
    let wait = this.#timing.delayMs
    while (this.#lag() > 0 && othersOf(this.#group).length > 0 && (await pause(wait, signal))) {
      this.#pushing = this.#remote.run(() => this.#push({ sync: false }))
      const done = (await this.#pushing) !== undefined
      this.#pushing = undefined
      wait = done ? this.#timing.delayMs : Math.min(Math.max(wait, this.#timing.retryMs) * 2, 5_000)
    }
  }

  #lag(): number {
    const copied = this.#current === undefined ? 0 : (this.#followers.get(this.#current)?.size ?? 0)
    return this.#file.size - copied
  }

  /** Bring one other node's copy up to this one's end, and `batch` behind it. Answers which, undefined when none. */
  async #push(more: { readonly batch?: Buffer; readonly sync: boolean }): Promise<string | undefined> {
    for (const node of this.#candidates()) {
      if (this.#closed.signal.aborted) return undefined
      if (await this.#attempt(node, () => this.#bring(node, more))) {
        this.#current = node
        return node
      }
    }
    return undefined
  }

  /** The node that has the copy, as long as it lives; then the others in this stream's own order. */
  #candidates(): string[] {
    const places = placesFor(this.#group, this.#name)
    const current = places.filter((node) => node === this.#current)
    return [...new Set([...current, ...places])]
  }

  async #attempt(node: string, work: () => Promise<boolean>): Promise<boolean> {
    try {
      return await work()
    } catch (error) {
      const known = this.#followers.get(node)
      if (known) this.#followers.set(node, { size: Math.min(known.size, this.#file.size), cut: true })
      this.#log.debug({ node, stream: this.#name, err: error }, 'a copy could not be written')
      return false
    }
  }

  async #bring(node: string, more: { readonly batch?: Buffer; readonly sync: boolean }): Promise<boolean> {
    let known = this.#followers.get(node) ?? (await this.#meet(node))
    this.#followers.set(node, known)
    // Behind once (it restarted and cut its tail), different once (filled anew): a third time it is broken.
    for (let tries = 0; tries < 3; tries += 1) {
      const end = this.#file.size
      const reply = await this.#put(node, known, end, more)
      known = { size: reply.size, cut: false }
      if (reply.accepted) known = { size: end + (more.batch?.length ?? 0), cut: false }
      else if (reply.differs || reply.size > end) known = { size: 0, cut: true }
      this.#followers.set(node, known)
      if (reply.accepted) return true
    }
    return false
  }

  /**
   * The first contact in this life. A copy that is as long as ours and ends alike is of our history, and is gone on
   * with; any other (it has what a crash took from us, or what was never acknowledged) is written anew.
   */
  async #meet(node: string): Promise<Follower> {
    const head = await this.#head(node)
    if (!head) return { size: 0, cut: false }
    const alike = head.size <= this.#file.size && head.tail === (await this.#file.tailDigest(head.size))
    return alike ? { size: head.size, cut: false } : { size: 0, cut: true }
  }

  async #head(node: string) {
    const request = { method: 'HEAD', path: `/streams/${this.#name}`, signal: this.#closed.signal } as const
    const response = await ask(this.#group.peers, node, request).catch((error: unknown) => {
      if (error instanceof ProblemError && error.code === 'not_found') return undefined
      throw error
    })
    if (!response) return undefined
    discard(response)
    const { 'x-size': size, 'x-tail': tail, 'x-sealed': sealed } = response.headers
    return { size: Number(size), tail, sealed }
  }

  /** From what the follower has to `end`, and the batch: in one request of any length. */
  async #put(
    node: string,
    known: Follower,
    end: number,
    more: { readonly batch?: Buffer; readonly sync: boolean },
  ): Promise<Placed> {
    const query = `offset=${known.size}${known.cut ? '&truncate=1' : ''}${more.sync ? '&sync=1' : ''}`
    const file = this.#file
    const chunks = async function* () {
      yield* file.bytes(known.size, end)
      if (more.batch) yield more.batch
    }
    const small = end - known.size + (more.batch?.length ?? 0) <= smallBytes
    return this.#send(node, query, small ? await gathered(chunks()) : chunks())
  }

  /** A body in one piece can be sent again by the wire when a kept connection turns out to be closed. */
  async #send(
    node: string,
    query: string,
    body: Buffer | AsyncIterable<Buffer>,
    idleMs = this.#timing.idleMs,
  ): Promise<Placed> {
    const path = `/streams/${this.#name}?${query}`
    const { signal } = this.#closed
    const response = Buffer.isBuffer(body)
      ? await ask(this.#group.peers, node, { method: 'PUT', path, body, signal, timeoutMs: idleMs })
      : await send(this.#group, node, path, body, { idleMs, signal })
    return PlacedReply.parse(await readJson(response, idleMs))
  }

  /** No more appends: seal here, then have another node hold the same, sealed too. */
  async seal(signal?: AbortSignal): Promise<Sealed & { holders: string[] }> {
    const sealed = await this.#local.run(() => this.#file.seal())
    if (!sealed) throw new ProblemError('internal', 'The stream could not be sealed')
    const until = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal
    const alone = { ...sealed, holders: [this.#group.self] }
    for (let wait = this.#timing.retryMs; ; wait = Math.min(wait * 2, 5_000)) {
      if (othersOf(this.#group).length === 0) return alone
      for (const node of this.#candidates()) {
        if (until.aborted) return alone
        const work = this.#remote.run(() => this.#attempt(node, () => this.#sealOn(node, sealed)))
        if (await unlessAborted(work, until)) return { ...sealed, holders: [this.#group.self, node] }
      }
      if (!(await pause(wait, until))) return alone
    }
  }

  async #sealOn(node: string, sealed: Sealed): Promise<boolean> {
    if ((await this.#head(node))?.sealed === sealed.sha256) return true
    for (let tries = 0; tries < 2; tries += 1) {
      if (!(await this.#bring(node, { sync: false }))) return false
      const query = `seal=${sealed.sha256}&size=${sealed.bytes}`
      if ((await this.#send(node, query, Buffer.alloc(0), digestMs)).accepted) return true
      // Not what is here: written anew, once.
      this.#followers.set(node, { size: 0, cut: true })
    }
    return false
  }

  /** Copying ends; appends under way are answered. */
  async close(): Promise<void> {
    this.#closed.abort(new ProblemError('node_unreachable', 'This agent is stopping'))
    await this.#copying
    await this.#local.run(() => Promise.resolve())
  }
}

async function gathered(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}
