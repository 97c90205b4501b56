import { createHash, randomUUID } from 'node:crypto'
import { renameSync, statSync, unlinkSync, utimesSync } from 'node:fs'
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { ProblemError } from '../../contract/index.ts'
import { diskProblem, hasCode, readBlocks, syncFolder, writeAll } from './disk.ts'
import { streamOf } from './peer-io.ts'
import type { Space } from './store.ts'

/** How much is written before it is forced to disk: bounds dirty memory, and how long the last fsync takes. */
const syncEvery = 64 * 1024 ** 2

export interface Range {
  readonly start: number
  /** The last byte wanted, as in HTTP. */
  readonly end: number
}

export interface HeldBlob {
  readonly sha256: string
  readonly bytes: number
  /** Wall-clock ms of the last write or question for it. */
  readonly touched: number
}

/** Files by digest in `<data>/blobs/ab/<sha256>`. A name is there only with its whole content on disk. */
export class LocalBlobs {
  readonly #folder: string
  readonly #tmp: string
  readonly #space: Space
  readonly #puts = new Set<Promise<unknown>>()
  readonly #shards = new Map<string, Promise<void>>()

  private constructor(data: string, space: Space) {
    this.#folder = path.join(data, 'blobs')
    this.#tmp = path.join(this.#folder, 'tmp')
    this.#space = space
  }

  /** `data` is the agent's data folder. What a crash left half-written is removed. */
  static async open(data: string, space: Space): Promise<LocalBlobs> {
    const blobs = new LocalBlobs(data, space)
    await rm(blobs.#tmp, { recursive: true, force: true })
    await mkdir(blobs.#tmp, { recursive: true, mode: 0o700 })
    await syncFolder(data)
    return blobs
  }

  /** The source is left open when this fails, so that whoever sends it can still be answered. */
  put(source: Readable, promised: { readonly sha256?: string } = {}) {
    // The reading below reports the error; one that comes before it has begun must not end the process.
    source.on('error', () => undefined)
    const work = this.#put(source, promised.sha256)
    const done = work.catch(() => undefined).finally(() => this.#puts.delete(done))
    this.#puts.add(done)
    return work
  }

  async #put(source: Readable, promised: string | undefined): Promise<{ sha256: string; bytes: number }> {
    if (promised !== undefined) this.#path(promised)
    this.#space.check()
    const tmp = path.join(this.#tmp, randomUUID())
    try {
      const written = await this.#write(source, tmp)
      if (promised !== undefined && promised !== written.sha256)
        throw new ProblemError(
          'invalid_request',
          `The content has SHA-256 ${written.sha256}, not ${promised}`,
        )
      await this.#publish(tmp, written.sha256)
      return written
    } catch (error) {
      await rm(tmp, { force: true })
      throw diskProblem(error)
    }
  }

  async #write(source: Readable, tmp: string) {
    const hash = createHash('sha256')
    let bytes = 0
    let unsynced = 0
    const handle = await open(tmp, 'wx', 0o600)
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false })) {
        const data = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
        hash.update(data)
        await writeAll(handle, data, null)
        bytes += data.length
        unsynced += data.length
        if (unsynced < syncEvery) continue
        unsynced = 0
        await handle.datasync()
        this.#space.check()
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    return { sha256: hash.digest('hex'), bytes }
  }

  /** Take over a file of the same disk that is whole, synced and proven to have this digest. */
  async adopt(file: string, sha256: string): Promise<void> {
    await this.#publish(file, sha256)
  }

  /** Renaming over the same content is fine, and makes it young: see `sweep`. */
  async #publish(tmp: string, sha256: string) {
    const file = this.#path(sha256)
    await this.#shard(path.dirname(file))
    renameSync(tmp, file)
    await syncFolder(path.dirname(file))
  }

  /** One making for all who need the folder: nobody goes on before its name is durable. */
  #shard(folder: string): Promise<void> {
    const known = this.#shards.get(folder)
    if (known) return known
    const made = mkdir(folder, { recursive: true, mode: 0o700 }).then(() => syncFolder(this.#folder))
    this.#shards.set(folder, made)
    made.catch(() => this.#shards.delete(folder))
    return made
  }

  async size(sha256: string): Promise<number | undefined> {
    try {
      return (await stat(this.#path(sha256))).size
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  /** Its size; whoever asks is about to count on it, so it is young again. */
  touch(sha256: string): number | undefined {
    const file = this.#path(sha256)
    try {
      utimesSync(file, new Date(), new Date())
      return statSync(file).size
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  read(sha256: string, range?: Range): Readable {
    return streamOf(() => this.chunks(sha256, range))
  }

  async *chunks(sha256: string, range?: Range): AsyncGenerator<Buffer> {
    const handle = await open(this.#path(sha256), 'r').catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) throw new ProblemError('not_found', `No file ${sha256} on this agent`)
      throw error
    })
    try {
      yield* readBlocks(handle, range?.start ?? 0, (range?.end ?? Infinity) + 1)
    } finally {
      await handle.close()
    }
  }

  async delete(sha256: string): Promise<void> {
    await rm(this.#path(sha256), { force: true })
  }

  /**
   * Delete unless it was touched since. Looking and deleting are one step that no `put` or `touch` can come between:
   * each of them takes effect in a synchronous call.
   */
  sweep(sha256: string, untouchedSince: number): boolean {
    const file = this.#path(sha256)
    const found = statSync(file, { throwIfNoEntry: false })
    if (!found || found.mtimeMs > untouchedSince) return false
    unlinkSync(file)
    return true
  }

  async *list(): AsyncGenerator<HeldBlob> {
    for (const shard of await readdir(this.#folder)) {
      if (!/^[0-9a-f]{2}$/.test(shard)) continue
      for (const sha256 of await readdir(path.join(this.#folder, shard))) {
        const found = statSync(path.join(this.#folder, shard, sha256), { throwIfNoEntry: false })
        if (found?.isFile()) yield { sha256, bytes: found.size, touched: found.mtimeMs }
      }
    }
  }

  /** Resolves when nothing is being written any more. */
  async close(): Promise<void> {
    await Promise.all(this.#puts)
  }

  #path(sha256: string): string {
    if (!/^[0-9a-f]{64}$/.test(sha256))
      throw new ProblemError('invalid_request', 'Expected a SHA-256 in lower-case hex')
    return path.join(this.#folder, sha256.slice(0, 2), sha256)
  }
}
