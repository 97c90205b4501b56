import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { ProblemError } from '../../contract/index.ts'
import {
  diskProblem,
  Lane,
  newline,
  newlineBefore,
  readBlocks,
  syncFolder,
  whenAbsent,
  writeAll,
  writeWhole,
} from './disk.ts'

/** How much of the end is compared to tell whether two copies are of one history. */
const tailBytes = 64 * 1024

export interface Sealed {
  readonly sha256: string
  readonly bytes: number
}

/** What `appendAt` answers: done, or the size to go on from; `differs` when what is here is not what was sent. */
export interface Placed {
  readonly accepted: boolean
  readonly size: number
  readonly differs?: boolean
}

/**
 * One append-only file of records, one per line. Readers see `size` bytes and never what is being written.
 * Changes run one after another; readers wait for them in this process, without polling.
 */
export class StreamFile {
  readonly #path: string
  readonly #marker: string
  readonly #lane = new Lane()
  readonly #watchers = new Set<() => void>()
  #loaded: Promise<void> | undefined
  #size = 0
  #exists = false
  #gone = false
  #sealed: Sealed | undefined
  /** Bytes beyond `size` may be left of a write that failed. */
  #dirtyTail = false

  /** `base` without `.jsonl`. */
  constructor(base: string) {
    this.#path = `${base}.jsonl`
    this.#marker = `${base}.sealed`
  }

  get size(): number {
    return this.#size
  }
  get exists(): boolean {
    return this.#exists
  }
  get sealed(): Sealed | undefined {
    return this.#sealed
  }
  get gone(): boolean {
    return this.#gone
  }
  /** It will not change and nobody waits for it: it may be dropped from memory and loaded again. */
  get settled(): boolean {
    return this.#sealed !== undefined && this.#watchers.size === 0 && !this.#lane.busy
  }

  load(): Promise<this> {
    this.#loaded ??= this.#load().catch((error: unknown) => {
      this.#loaded = undefined
      throw error
    })
    return this.#loaded.then(() => this)
  }

  /** A crash may have torn the last record: it was never acknowledged, and it is cut. */
  async #load(): Promise<void> {
    const marker = await readFile(this.#marker, 'utf8').catch(whenAbsent)
    const found = await stat(this.#path).catch(whenAbsent)
    if (!found) return
    this.#exists = true
    this.#size = found.size
    const sealed = marker === undefined ? undefined : (JSON.parse(marker) as Sealed)
    if (sealed?.bytes === found.size) this.#sealed = sealed
    else await this.#cutTornTail()
  }

  async #cutTornTail(): Promise<void> {
    const handle = await open(this.#path, 'r+')
    try {
      const whole = await newlineBefore(handle, this.#size, 1)
      if (whole === this.#size) return
      await handle.truncate(whole)
      await handle.sync()
      this.#size = whole
    } finally {
      await handle.close()
    }
  }

  /** Whole records at the end. Answers the new size. */
  append(bytes: Buffer, sync: boolean): Promise<number> {
    return this.#lane.run(async () => {
      if (this.#sealed) throw new ProblemError('conflict', 'The stream is sealed: it takes no more records')
      await this.#write(bytes, sync)
      return this.#size
    })
  }

  /** Exactly there. The same bytes again change nothing; a gap or other bytes are answered, not written. */
  appendAt(offset: number, bytes: Buffer): Promise<Placed> {
    return this.#lane.run(async () => {
      if (offset > this.#size) return { accepted: false, size: this.#size }
      const known = Math.min(this.#size - offset, bytes.length)
      if (known > 0 && !(await this.#holds(offset, bytes.subarray(0, known))))
        return { accepted: false, size: this.#size, differs: true }
      if (known === bytes.length) return { accepted: true, size: this.#size }
      if (this.#sealed) throw new ProblemError('conflict', 'The stream is sealed: it takes no more records')
      await this.#write(bytes.subarray(known), false)
      return { accepted: true, size: this.#size }
    })
  }

  async #holds(offset: number, bytes: Buffer): Promise<boolean> {
    let at = 0
    for await (const block of this.bytes(offset, offset + bytes.length)) {
      if (!block.equals(bytes.subarray(at, at + block.length))) return false
      at += block.length
    }
    return at === bytes.length
  }

  async #write(bytes: Buffer, sync: boolean): Promise<void> {
    if (this.#gone) throw new ProblemError('not_found', 'The stream was deleted')
    const handle = await this.#openForWriting()
    try {
      if (this.#dirtyTail) await handle.truncate(this.#size)
      this.#dirtyTail = true
      await writeAll(handle, bytes, this.#size)
      if (sync) await handle.datasync()
      this.#dirtyTail = false
      this.#size += bytes.length
    } catch (error) {
      // If this fails too, the next write does it first.
      await handle.truncate(this.#size).catch(() => undefined)
      throw diskProblem(error)
    } finally {
      await handle.close()
    }
    this.#changedNow()
  }

  async #openForWriting(): Promise<FileHandle> {
    try {
      if (this.#exists) return await open(this.#path, 'r+')
      const folder = path.dirname(this.#path)
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const handle = await open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600)
      await syncFolder(folder)
      await syncFolder(path.dirname(folder))
      this.#exists = true
      return handle
    } catch (error) {
      throw diskProblem(error)
    }
  }

  /** Forget everything from `offset` on: the writer says that it is not so. */
  truncate(offset: number): Promise<void> {
    return this.#lane.run(async () => {
      if (offset >= this.#size) return
      if (this.#sealed) throw new ProblemError('conflict', 'The stream is sealed: it cannot be cut')
      const handle = await this.#openForWriting()
      try {
        await handle.truncate(offset)
        this.#size = offset
      } finally {
        await handle.close()
      }
      this.#changedNow()
    })
  }

  /** Everything acknowledged so far is on disk. */
  sync(): Promise<void> {
    return this.#lane.run(() => this.#sync())
  }

  async #sync(): Promise<void> {
    if (this.#gone) throw new ProblemError('not_found', 'The stream was deleted')
    const handle = await this.#openForWriting()
    try {
      await handle.sync()
    } catch (error) {
      throw diskProblem(error)
    } finally {
      await handle.close()
    }
  }

  /** The end, durable. With `expected` only if the content is that; answers undefined otherwise. */
  seal(expected?: Sealed): Promise<Sealed | undefined> {
    return this.#lane.run(async () => {
      if (!this.#sealed) {
        await this.#sync()
        if (expected && expected.bytes !== this.#size) return undefined
        const sealed = { sha256: await this.#digest(0, this.#size), bytes: this.#size }
        if (expected && expected.sha256 !== sealed.sha256) return undefined
        await writeWhole(this.#marker, JSON.stringify(sealed))
        this.#sealed = sealed
        this.#changedNow()
      }
      return expected && expected.sha256 !== this.#sealed.sha256 ? undefined : this.#sealed
    })
  }

  async #digest(start: number, end: number): Promise<string> {
    const hash = createHash('sha256')
    for await (const block of this.bytes(start, end)) hash.update(block)
    return hash.digest('hex')
  }

  /** Digest of the bytes just before `end`: two copies of one history that agree there agree everywhere before. */
  tailDigest(end: number): Promise<string> {
    return this.#digest(Math.max(0, end - tailBytes), end)
  }

  /** Bytes `start` to before `end`, at most to the size. */
  async *bytes(start: number, end: number): AsyncGenerator<Buffer> {
    if (!this.#exists || start >= Math.min(end, this.#size)) return
    const handle = await open(this.#path, 'r')
    try {
      yield* readBlocks(handle, start, Math.min(end, this.#size))
    } finally {
      await handle.close()
    }
  }

  /** Throws unless a record begins at the offset, as far as can be told from here. */
  async checkStart(offset: number): Promise<void> {
    if (offset === 0 || offset > this.#size) return
    for await (const block of this.bytes(offset - 1, offset)) if (block[0] === newline) return
    throw new ProblemError('invalid_request', `Offset ${offset} is inside a record, not at its beginning`)
  }

  /** Where the last `count` whole records begin. */
  async tailStart(count: number): Promise<number> {
    if (!this.#exists) return 0
    const handle = await open(this.#path, 'r')
    try {
      return await newlineBefore(handle, this.#size, count + 1)
    } finally {
      await handle.close()
    }
  }

  /** Resolves at the next change, when the signal aborts, or after `atMostMs`. */
  changed(signal?: AbortSignal, atMostMs?: number): Promise<void> {
    if (signal?.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#watchers.delete(wake)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const timer = atMostMs === undefined ? undefined : setTimeout(wake, atMostMs)
      this.#watchers.add(wake)
      signal?.addEventListener('abort', wake)
    })
  }

  /** The file is about to be deleted: readers end, writers are refused. */
  forget(): Promise<void> {
    return this.#lane.run(async () => {
      this.#gone = true
      this.#exists = false
      this.#size = 0
      this.#changedNow()
    })
  }

  #changedNow(): void {
    for (const wake of [...this.#watchers]) wake()
  }
}
