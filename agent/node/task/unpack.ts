import { createHash } from 'node:crypto'
import { chmod, link, mkdir, open, rm, symlink } from 'node:fs/promises'
import path from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Parser, type ReadEntry } from 'tar'

export interface UnpackLimits {
  readonly files: number
  readonly bytes: number
}

export const defaultUnpackLimits: UnpackLimits = { files: 200_000, bytes: 64 * 1024 ** 3 }

/** The archive itself is at fault: unpacking it again cannot help. */
export class BadArchive extends Error {}

/**
 * Unpack a tar file (gzip or plain) into a new folder, or leave nothing. An archive that tries to reach outside, or
 * holds what no code folder has, is refused whole. Answers the digest of what was read.
 */
export async function unpack(
  source: Readable,
  folder: string,
  limits = defaultUnpackLimits,
): Promise<string> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  const hash = createHash('sha256')
  const over = new AbortController()
  const writer = new EntryWriter(folder, limits, () => over.abort())
  const parser = new Parser({ strict: true, onReadEntry: (entry) => writer.take(entry) })
  try {
    await pipeline(source, hashing(hash), parser as unknown as NodeJS.WritableStream, { signal: over.signal })
    await writer.done()
  } catch (error) {
    const problem = (await writer.giveUp()) ?? error
    await rm(folder, { recursive: true, force: true })
    throw isUnreadable(problem) ? new BadArchive(problem.message, { cause: problem }) : problem
  }
  // The archive may have had an entry for the folder itself; tasks of any user work in it.
  await chmod(folder, 0o777)
  return hash.digest('hex')
}

function hashing(hash: ReturnType<typeof createHash>): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      done(null, chunk)
    },
  })
}

/** Errors of the parser and of zlib, and of the file system when entries contradict each other (a file as a folder). */
const unreadable = /^(TAR_|Z_|EISDIR$|ENOTDIR$|EEXIST$|ENAMETOOLONG$|EINVAL$|ENOENT$)/

function isUnreadable(error: unknown): error is Error {
  const { code, tarCode } = error as { code?: unknown; tarCode?: unknown }
  return (
    error instanceof Error && [code, tarCode].some((one) => typeof one === 'string' && unreadable.test(one))
  )
}

/** Writes entries one after the other, so that nothing is under way any more once it has given up. */
class EntryWriter {
  readonly #folder: string
  readonly #checker: EntryChecker
  readonly #fail: () => void
  #work: Promise<void> = Promise.resolve()
  #current: ReadEntry | undefined
  #problem: unknown
  #over = false
  readonly #made = new Set<string>()

  constructor(folder: string, limits: UnpackLimits, fail: () => void) {
    this.#folder = folder
    this.#checker = new EntryChecker(limits)
    this.#fail = fail
  }

  take(entry: ReadEntry): void {
    // Whoever reads it gets its error; without a listener it would be thrown here too.
    entry.on('error', () => undefined)
    this.#work = this.#work.then(async () => {
      // What is not read would hold up the parser.
      if (this.#over) return void entry.resume()
      try {
        this.#current = entry
        await this.#write(entry)
      } catch (error) {
        this.#problem ??= error
        this.#over = true
        this.#fail()
      } finally {
        this.#current = undefined
      }
    })
  }

  async done(): Promise<void> {
    await this.#work
    if (this.#problem) throw this.#problem as Error
  }

  /** Resolves when nothing is written any more, with what went wrong here first, if anything did. */
  async giveUp(): Promise<unknown> {
    const problem = this.#problem
    this.#over = true
    // It may wait for bytes that never come.
    this.#current?.destroy(new Error('given up'))
    await this.#work
    return problem
  }

  async #write(entry: ReadEntry): Promise<void> {
    const problem = this.#checker.check(entry)
    if (problem) throw new BadArchive(problem)
    const at = path.join(this.#folder, entry.path)
    await this.#makeFolder(entry.type === 'Directory' ? at : path.dirname(at))
    if (entry.type !== 'Directory') await rm(at, { force: true })
    if (entry.type === 'SymbolicLink') await symlink(entry.linkpath ?? '', at)
    else if (entry.type === 'Link') await link(path.join(this.#folder, entry.linkpath ?? ''), at)
    else if (entry.type !== 'Directory') return await writeFile(entry, at)
    entry.resume()
  }

  async #makeFolder(folder: string): Promise<void> {
    if (this.#made.has(folder)) return
    await mkdir(folder, { recursive: true, mode: 0o755 })
    this.#made.add(folder)
  }
}

async function writeFile(entry: ReadEntry, at: string): Promise<void> {
  // No set-user-id programs; everything readable by whatever user the image runs as; no owner but the agent's.
  const file = await open(at, 'wx', ((entry.mode ?? 0) & 0o777) | 0o644)
  try {
    for await (const chunk of entry) await file.write(chunk)
    if (entry.mtime) await file.utimes(entry.mtime, entry.mtime)
  } finally {
    await file.close()
  }
}

export interface ArchiveEntry {
  readonly path: string
  readonly type: string
  readonly size: number
  readonly linkpath?: string | undefined
}

const fileTypes = new Set(['File', 'OldFile', 'ContiguousFile'])

/** Looks at an archive's entries one by one, in order, and says what is wrong with one. */
export class EntryChecker {
  readonly #limits: UnpackLimits
  readonly #links = new Set<string>()
  #files = 0
  #bytes = 0

  constructor(limits: UnpackLimits) {
    this.#limits = limits
  }

  /** undefined when it may be unpacked. */
  check(entry: ArchiveEntry): string | undefined {
    const shown = JSON.stringify(entry.path.slice(0, 200))
    const at = inside(entry.path)
    if (at === undefined) return `the entry ${shown} leads outside of the code folder`
    if (this.#throughLink(at)) return `the entry ${shown} lies behind a link of the same archive`
    this.#files++
    this.#bytes += entry.size
    if (this.#files > this.#limits.files) return `it holds more than ${this.#limits.files} files`
    if (this.#bytes > this.#limits.bytes) return `it unpacks to more than ${this.#limits.bytes} bytes`
    if (fileTypes.has(entry.type) || entry.type === 'Directory') return undefined
    if (entry.type === 'SymbolicLink') return this.#symbolic(at, entry.linkpath ?? '', shown)
    if (entry.type === 'Link') return this.#hard(entry.linkpath ?? '', shown)
    return `the entry ${shown} is neither a file, a folder nor a link (${entry.type})`
  }

  /**
   * A target may climb only at its beginning, from the link's real folder: "a/.." is a's real parent, which may be
   * elsewhere when a is a link itself. What it goes down through are links that were checked the same way.
   */
  #symbolic(at: string, target: string, shown: string): string | undefined {
    const parts = target.split('/')
    const climbs = parts.findIndex((part) => part !== '..')
    const later = climbs < 0 ? [] : parts.slice(climbs)
    const depth = at.split('/').length - 1
    const up = climbs < 0 ? parts.length : climbs
    if (target === '' || target.startsWith('/') || later.includes('..') || up > depth)
      return `the link ${shown} leads outside of the code folder`
    this.#links.add(at)
    return undefined
  }

  /** To a file of the archive; a second name for a link would move it to where its target means something else. */
  #hard(target: string, shown: string): string | undefined {
    const at = inside(target)
    return at === undefined || this.#throughLink(at)
      ? `the link ${shown} leads outside of the code folder`
      : undefined
  }

  /** Is the path itself, or a folder above it, a link? */
  #throughLink(at: string): boolean {
    if (this.#links.size === 0) return false
    const parts = at.split('/')
    return parts.some((_, i) => this.#links.has(parts.slice(0, i + 1).join('/')))
  }
}

/** The path below the folder in its shortest form; undefined when it is absolute, climbs or holds a NUL. */
function inside(entry: string): string | undefined {
  if (entry.startsWith('/') || entry.includes('\0') || entry.split('/').includes('..')) return undefined
  return path.posix.normalize(entry).replace(/\/$/, '')
}
