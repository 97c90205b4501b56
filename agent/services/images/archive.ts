import { createHash } from 'node:crypto'
import { once } from 'node:events'
import path from 'node:path'
import { Readable } from 'node:stream'
import { Parser, type ReadEntry } from 'tar'
import { ProblemError } from '../../../contract/index.ts'
import type { Blobs } from '../../store/store.ts'
import { tooLarge } from '../blobs.ts'

export interface StoredFile {
  readonly sha256: string
  readonly bytes: number
}

/** An archive whose files are in the blob store, by path. */
export type Stored = ReadonlyMap<string, StoredFile>

const mostEntries = 20_000
/** Unpacked: a file of a few MB can hold terabytes of zeros. */
const mostUnpacked = 64 * 1024 ** 3

/**
 * Put every file of a tar (plain, gzip or zstd) into the blob store as it streams by: layers of gigabytes come before
 * what says which of them are wanted. What nothing names in the end is swept like any other file. Answers the digest
 * of the archive too. The source is left open when this fails, so that its sender can be answered.
 */
export async function storeArchive(
  source: Readable,
  blobs: Pick<Blobs, 'put'>,
  most = mostUnpacked,
): Promise<{ files: Stored; sha256: string }> {
  const taker = new EntryTaker(blobs, most)
  const parser = new Parser({ strict: true, onReadEntry: (entry) => taker.take(entry) })
  const failed = new Promise<never>((_, reject) => parser.on('error', reject))
  failed.catch(() => undefined)
  const hash = createHash('sha256')
  try {
    for await (const chunk of source.iterator({ destroyOnReturn: false })) {
      hash.update(chunk as Buffer)
      taker.throwIfFailed()
      if (!parser.write(chunk as Buffer)) await Promise.race([once(parser, 'drain'), failed, taker.failed])
    }
    const ended = once(parser, 'end')
    parser.end()
    await Promise.race([ended, failed, taker.failed])
    await taker.done()
  } catch (error) {
    await taker.giveUp()
    throw isUnreadable(error) ? notAnArchive(`it cannot be read as a tar file (${error.message})`) : error
  }
  return { files: resolveLinks(taker.files, taker.links), sha256: hash.digest('hex') }
}

export const notAnArchive = (why: string): ProblemError =>
  new ProblemError('invalid_request', `this is no image archive: ${why}`, {
    hint: 'Send what `docker save IMAGE` writes, or an OCI image layout as a tar file; gzip is understood.',
  })

function isUnreadable(error: unknown): error is Error {
  const { code, tarCode } = error as { code?: unknown; tarCode?: unknown }
  return (
    error instanceof Error && [code, tarCode].some((one) => typeof one === 'string' && /^(TAR|Z)_/.test(one))
  )
}

/** Takes entries one after the other; the parser waits for it. */
class EntryTaker {
  readonly files = new Map<string, StoredFile>()
  readonly links = new Map<string, string>()
  /** Rejects when an entry cannot be stored. */
  readonly failed: Promise<never>
  readonly #blobs: Pick<Blobs, 'put'>
  readonly #most: number
  #bytes = 0
  #fail: (error: unknown) => void = () => undefined
  #problem: unknown
  #work: Promise<void> = Promise.resolve()
  #current: ReadEntry | undefined

  constructor(blobs: Pick<Blobs, 'put'>, most: number) {
    this.#blobs = blobs
    this.#most = most
    this.failed = new Promise((_, reject) => (this.#fail = reject))
    this.failed.catch(() => undefined)
  }

  take(entry: ReadEntry): void {
    entry.on('error', () => undefined)
    this.#work = this.#work.then(async () => {
      // What is not read would hold up the parser.
      if (this.#problem) return void entry.resume()
      this.#current = entry
      try {
        await this.#store(entry)
      } catch (error) {
        this.#problem = error
        this.#fail(error)
      }
      this.#current = undefined
    })
  }

  async #store(entry: ReadEntry): Promise<void> {
    const at = path.posix.normalize(entry.path)
    if (this.files.size + this.links.size >= mostEntries)
      throw notAnArchive(`it holds more than ${mostEntries} files`)
    this.#bytes += entry.size
    // Before any of it is written.
    if (this.#bytes > this.#most) throw tooLarge(this.#most)
    if (entry.type === 'SymbolicLink' || entry.type === 'Link') {
      const target = entry.linkpath ?? ''
      this.links.set(at, entry.type === 'Link' ? target : path.posix.join(path.posix.dirname(at), target))
    } else if (entry.type !== 'Directory') {
      this.files.set(at, await this.#blobs.put(Readable.from(entry, { objectMode: false })))
      return
    }
    entry.resume()
  }

  throwIfFailed(): void {
    if (this.#problem) throw this.#problem as Error
  }

  async done(): Promise<void> {
    await this.#work
    this.throwIfFailed()
  }

  /** Resolves when nothing is written any more. */
  async giveUp(): Promise<void> {
    this.#problem ??= new Error('given up')
    this.#current?.destroy(new Error('given up'))
    await this.#work
  }
}

/** Older engines write a layer that two images share once, and links to it. */
function resolveLinks(files: Map<string, StoredFile>, links: ReadonlyMap<string, string>): Stored {
  for (const [at, target] of links) {
    let end = path.posix.normalize(target)
    for (let hops = 0; links.has(end) && hops < 40; hops++) end = path.posix.normalize(links.get(end) ?? '')
    const file = files.get(end)
    if (file) files.set(at, file)
  }
  return files
}
