import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { ProblemError } from '../../contract/index.ts'
import type { Range } from './blobs.ts'
import { diskProblem, readBlocks, writeAll } from './disk.ts'
import { chunksOf, pause } from './peer-io.ts'
import type { Space } from './store.ts'

export interface FetchOptions {
  readonly sha256: string
  /** Of the whole file. */
  readonly bytes: number
  /** Where it grows; what is there already was fetched before. */
  readonly file: string
  /** The rest of it from `at` on; nodes in `failed` broke off without giving anything. */
  readonly source: (
    at: number,
    failed: ReadonlySet<string>,
    signal: AbortSignal,
  ) => Promise<{ node: string; body: Readable }>
  /** Called once its digest is proven and it is on disk. */
  readonly publish: (file: string) => Promise<void>
  readonly published: (range: Range) => AsyncGenerator<Buffer>
  readonly space: Space
  readonly signal: AbortSignal
  readonly timing: {
    readonly idleMs: number
    readonly retryMs: number
    readonly patienceMs: number
    readonly lingerMs: number
  }
}

const blockBytes = 256 * 1024
const syncEvery = 64 * 1024 ** 2

/** One file on its way here, read by any number while it comes. */
export class Fetch {
  /** Resolves when it has come or was given up; never rejects. */
  readonly ended: Promise<void>
  readonly #options: FetchOptions
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  /** Those who wait for more bytes or the end. */
  #waiting = new Set<() => void>()
  #handle: FileHandle | undefined
  #hash: Hash = createHash('sha256')
  #size = 0
  #done = false
  #problem: Error | undefined
  /** Of this host: no other source helps. */
  #unwritable: Error | undefined
  #readers = 0
  #linger: NodeJS.Timeout | undefined

  constructor(options: FetchOptions) {
    this.#options = options
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal])
    this.ended = this.#run()
  }

  get bytes(): number {
    return this.#options.bytes
  }

  /** The bytes of the range as they come. Throws when the fetch fails. */
  async *read({ start, end }: Range, signal: AbortSignal): AsyncGenerator<Buffer> {
    this.#enter()
    try {
      for (let at = start; at <= end;) {
        signal.throwIfAborted()
        if (this.#problem) throw this.#problem
        const ready = Math.min(blockBytes, this.#size - at, end + 1 - at)
        if (ready <= 0) await this.#more(signal)
        // It came and was let go of before this reader began.
        else if (!this.#handle) {
          yield* this.#options.published({ start: at, end })
          return
        } else {
          const { buffer, bytesRead } = await this.#handle.read(Buffer.allocUnsafe(ready), 0, ready, at)
          at += bytesRead
          yield buffer.subarray(0, bytesRead)
        }
      }
    } finally {
      await this.#leave()
    }
  }

  /** True once there is more than `at`. */
  async growsBeyond(at: number, withinMs: number): Promise<boolean> {
    const late = AbortSignal.timeout(withinMs)
    while (this.#size <= at && !this.#done && !this.#problem && !late.aborted) await this.#more(late)
    return this.#size > at && !this.#problem
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
      if (signal.aborted || this.#done || this.#problem) wake()
    })
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  #enter(): void {
    this.#readers++
    clearTimeout(this.#linger)
  }

  /** An engine that lost its connection comes back at once; one that never does wants no more of it. */
  async #leave(): Promise<void> {
    if (--this.#readers > 0) return
    if (this.#done || this.#problem) return this.#close()
    this.#linger = setTimeout(() => {
      this.#stop.abort(new ProblemError('node_unreachable', 'nobody reads it any more'))
    }, this.#options.timing.lingerMs).unref()
  }

  async #close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close().catch(() => undefined)
  }

  async #run(): Promise<void> {
    const { file, sha256, publish } = this.#options
    try {
      this.#options.space.check()
      await this.#resume()
      await this.#fill()
      const digest = this.#hash.digest('hex')
      if (digest !== sha256) {
        await rm(file, { force: true })
        throw new ProblemError('internal', `what came as the file ${sha256} has the digest ${digest}`)
      }
      await this.#handle?.sync()
      await publish(file)
      this.#done = true
    } catch (error) {
      this.#problem = error as Error
    }
    clearTimeout(this.#linger)
    this.#wake()
    if (this.#readers === 0) await this.#close()
  }

  /** What an earlier fetch left counts only by its digest, so it is read again. */
  async #resume(): Promise<void> {
    const { file, bytes } = this.#options
    this.#handle = await open(file, 'a+', 0o600)
    if ((await this.#handle.stat()).size > bytes) await this.#handle.truncate(0)
    for await (const block of readBlocks(this.#handle, 0, bytes)) {
      this.#hash.update(block)
      this.#size += block.length
    }
    this.#wake()
  }

  /** From one source after the other; where one breaks off, the next goes on at the same byte. */
  async #fill(): Promise<void> {
    const { bytes, source, timing } = this.#options
    const failed = new Set<string>()
    let progress = performance.now()
    while (this.#size < bytes) {
      this.#signal.throwIfAborted()
      const before = this.#size
      let node: string | undefined
      let problem: unknown = new ProblemError('node_unreachable', 'it broke off')
      try {
        const found = await source(before, failed, this.#signal)
        node = found.node
        for await (const chunk of chunksOf(found.body, timing.idleMs, this.#signal)) await this.#write(chunk)
      } catch (error) {
        this.#signal.throwIfAborted()
        if (this.#unwritable) throw this.#unwritable
        problem = error
      }
      if (this.#size > before) {
        progress = performance.now()
        failed.clear()
      } else if (performance.now() - progress > timing.patienceMs) throw problem
      else await pause(timing.retryMs, this.#signal)
      // It is asked last next time, whatever it gave before it broke off.
      if (node !== undefined && this.#size < bytes) failed.add(node)
    }
  }

  async #write(chunk: Buffer): Promise<void> {
    if (this.#size + chunk.length > this.#options.bytes)
      throw new ProblemError('internal', 'more came than the file has')
    try {
      await this.#append(chunk)
    } catch (error) {
      this.#unwritable = diskProblem(error) as Error
      throw error
    }
  }

  async #append(chunk: Buffer): Promise<void> {
    if (!this.#handle) throw new Error('its file is closed')
    await writeAll(this.#handle, chunk, null)
    this.#hash.update(chunk)
    const before = this.#size
    this.#size += chunk.length
    this.#wake()
    if (Math.floor(before / syncEvery) === Math.floor(this.#size / syncEvery)) return
    await this.#handle.datasync()
    this.#options.space.check()
  }
}
