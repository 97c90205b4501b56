import { createHash } from 'node:crypto'
import { chmod, mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type ReadEntry, x as extract } from 'tar'

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
  try {
    await pipeline(source, hashing(hash), extractor(folder, new EntryChecker(limits)))
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
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

function extractor(folder: string, checker: EntryChecker) {
  const unpacker = extract({
    cwd: folder,
    strict: true,
    // Files belong to the agent's user, whatever the archive says.
    preserveOwner: false,
    filter: (_path, entry) => {
      const found = entry as ReadEntry
      const problem = checker.check({
        path: found.path,
        type: found.type,
        size: found.size,
        linkpath: found.linkpath,
      })
      // Thrown here it would come out of the parser half-way; this ends the stream in order.
      if (problem) unpacker.emit('error', new BadArchive(problem))
      // No set-user-id programs; everything readable by whatever user the image runs as.
      found.mode = ((found.mode ?? 0o644) & 0o777) | 0o444 | (found.type === 'Directory' ? 0o111 : 0)
      return !problem
    },
  })
  return unpacker
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
