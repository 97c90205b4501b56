import { constants, createReadStream } from 'node:fs'
import { type FileHandle, open, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { ArtifactPath } from '../../../contract/index.ts'
import type { Kept } from '../../cluster/state.ts'
import type { Blobs, ManifestLine } from '../../store/store.ts'

export interface CollectOptions {
  readonly blobs: Pick<Blobs, 'put' | 'replicate'>
  readonly node: string
  /** File for the manifest while it grows. */
  readonly draft: string
  /** How long a second node may be waited for, ms, besides the time its size takes. */
  readonly patienceMs: number
  readonly signal: AbortSignal
}

export interface Collected {
  readonly kept: Kept
  /** What was not kept, for people. */
  readonly notes: readonly string[]
}

/** Files handled at a time: enough to hide waiting for the disk and the other node. */
const parallel = 8
/** A slow network still copies this much in a second. */
const slowestBytesPerSecond = 2 * 1024 ** 2

/**
 * Put every regular file below the folder into the blob store, then a manifest that names them, each on a second node
 * too where one can be had. Memory does not grow with the number or size of the files. Links are not followed.
 */
export async function collect(folder: string, options: CollectOptions): Promise<Collected> {
  const { blobs, draft, signal } = options
  const copies = new Copies(options)
  const notes: string[] = []
  let [files, bytes] = [0, 0]
  const manifest = await open(draft, 'w', 0o600)
  try {
    const keep = async (relative: string) => {
      signal.throwIfAborted()
      const line = await keepFile(folder, relative, blobs, notes)
      if (line) await copies.make(line)
      return line
    }
    for await (const line of inParallel(walk(folder, notes), keep)) {
      if (!line) continue
      await manifest.write(`${JSON.stringify(line)}\n`)
      files++
      bytes += line.bytes
    }
  } finally {
    await manifest.close()
  }
  const { sha256, bytes: size } = await blobs.put(createReadStream(draft))
  await copies.make({ sha256, bytes: size })
  await rm(draft, { force: true })
  return { kept: { files, bytes, sha256, holders: copies.holders() }, notes: summary(notes) }
}

/** Gives blobs a second holder, and knows who holds them all. */
class Copies {
  readonly #options: CollectOptions
  #holders: Set<string> | undefined
  #gaveUp = false

  constructor(options: CollectOptions) {
    this.#options = options
  }

  async make(blob: { readonly sha256: string; readonly bytes: number }): Promise<void> {
    const { blobs, node, patienceMs, signal } = this.#options
    const patience = AbortSignal.timeout(Math.ceil(patienceMs + (blob.bytes / slowestBytesPerSecond) * 1000))
    const holders = this.#gaveUp
      ? [node]
      : await blobs.replicate(blob.sha256, AbortSignal.any([signal, patience])).catch(() => [node])
    signal.throwIfAborted()
    // When no second node could be had for one, the others need not wait as long again.
    if (patience.aborted) this.#gaveUp = true
    const held = new Set(holders)
    this.#holders = new Set([...(this.#holders ?? held)].filter((holder) => held.has(holder)))
  }

  holders(): string[] {
    return [...(this.#holders ?? [this.#options.node])]
  }
}

async function keepFile(
  folder: string,
  relative: string,
  blobs: Pick<Blobs, 'put'>,
  notes: string[],
): Promise<ManifestLine | undefined> {
  if (!ArtifactPath.safeParse(relative).success) {
    notes.push(`${JSON.stringify(relative.slice(0, 200))} (a name that artifacts cannot have)`)
    return undefined
  }
  let file: FileHandle
  try {
    // Never through a link, and never waiting for the other end of a pipe.
    file = await open(
      path.join(folder, relative),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    )
  } catch (error) {
    notes.push(`${relative} (${(error as Error).message})`)
    return undefined
  }
  try {
    if (!(await file.stat()).isFile()) return undefined
    const stored = await blobs.put(file.createReadStream({ autoClose: false }))
    return { path: relative, bytes: stored.bytes, sha256: stored.sha256 }
  } finally {
    await file.close()
  }
}

/** Relative paths of all files, folder by folder, in the order of their names. */
async function* walk(root: string, notes: string[]): AsyncGenerator<string> {
  const folders = ['']
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    let entries
    try {
      entries = await readdir(path.join(root, folder), { withFileTypes: true })
    } catch (error) {
      notes.push(`${folder || '/output'} (${(error as Error).message})`)
      continue
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    const inner: string[] = []
    for (const entry of entries) {
      const relative = folder ? `${folder}/${entry.name}` : entry.name
      if (entry.isDirectory()) inner.push(relative)
      else if (entry.isFile()) yield relative
      else notes.push(`${relative} (${entry.isSymbolicLink() ? 'a link' : 'no regular file'})`)
    }
    folders.push(...inner.reverse())
  }
}

/** Results in the order of the items, a few of which are worked on at a time; the first error ends it. */
async function* inParallel<T, R>(items: AsyncIterable<T>, work: (item: T) => Promise<R>): AsyncGenerator<R> {
  const running: Promise<R>[] = []
  for await (const item of items) {
    const result = work(item)
    // Its error is thrown when its turn comes; until then it must not count as unhandled.
    result.catch(() => undefined)
    running.push(result)
    const first = running.length >= parallel ? running.shift() : undefined
    if (first) yield await first
  }
  for (const result of running) yield await result
}

/** A few of many are enough for people. */
function summary(notes: readonly string[]): string[] {
  if (notes.length <= 20) return notes.map((note) => `not kept as an artifact: ${note}`)
  return [...summary(notes.slice(0, 20)), `and ${notes.length - 20} more`]
}
