import type { Disk } from './disk.ts'
import { extend, measure, writeDurably, type Written } from './disk-files.ts'
import type { StorageGuard } from './storage-guard.ts'
import { REJOIN, StoreError, type HeldSnapshot, type SnapshotBytes, type SnapshotSource } from './store.ts'
import { RaftError, type Index, type SnapshotMeta } from './types.ts'

const FOLDER = 'snapshots'
const WHOLE = '.snap'
const PART = '.part'
/** What a power cut may cost of a transfer. */
const SYNC_EVERY = 8 << 20

type Point = Pick<SnapshotMeta, 'index' | 'term'>

/**
 * The snapshots' bytes: `<index>-<term>.snap`, and what has arrived of one that is being received as
 * `<index>-<term>-<bytes>-<crc>.part`, so that a transfer goes on with exactly the same snapshot or begins anew.
 */
export class SnapshotFiles {
  readonly #disk: Disk
  readonly #guard: StorageGuard
  /** How often each file is held, and which of the held ones are to go when they are released. */
  readonly #holds = new Map<string, number>()
  readonly #doomed = new Set<string>()

  constructor(disk: Disk, guard: StorageGuard) {
    this.#disk = disk
    this.#guard = guard
  }

  /** What a crash left is removed; a part that is still worth something stays. */
  static async tidy(disk: Disk, meta: SnapshotMeta | undefined): Promise<void> {
    const keep = meta && meta.bytes > 0 ? whole(meta) : undefined
    if (keep && (await disk.size(keep)) !== meta?.bytes)
      throw new StoreError('corrupt', `${disk.where}: the snapshot ${keep} is lost or cut off. ${REJOIN}`)
    for (const name of await disk.list(FOLDER)) {
      const wanted = name.endsWith(PART) && indexOf(name) > (meta?.index ?? 0)
      if (!wanted && inFolder(name) !== keep) await disk.remove(inFolder(name))
    }
  }

  /** An image of the own state. */
  write(at: Point, data: SnapshotSource): Promise<Written> {
    return this.#guard.run(() => writeDurably(this.#disk, whole(at), data))
  }

  /** Adds what is missing to what came before. An error of the sender's leaves the part for the next time. */
  async receive(meta: SnapshotMeta, data: SnapshotBytes): Promise<void> {
    const name = part(meta)
    const had = await this.#guard.run(() => this.#begin(name, meta))
    const have = await this.#fetch(name, had, meta, data)
    if (have.bytes === meta.bytes && have.crc32c === meta.crc32c) return
    await this.#guard.run(() => this.#disk.remove(name))
    throw new RaftError('codec', `the snapshot ${meta.index} arrived damaged`)
  }

  async #begin(name: string, meta: SnapshotMeta): Promise<Written> {
    for (const other of await this.#disk.list(FOLDER))
      if (other.endsWith(PART) && inFolder(other) !== name) await this.#disk.remove(inFolder(other))
    const size = await this.#disk.size(name)
    if (size !== undefined && size <= meta.bytes) return measure(this.#disk, name)
    await this.#disk.remove(name)
    return { bytes: 0, crc32c: 0 }
  }

  async #fetch(name: string, had: Written, meta: SnapshotMeta, data: SnapshotBytes): Promise<Written> {
    const guard = this.#guard
    const writer = await guard.run(() => this.#disk.write(name, { append: had.bytes > 0 }))
    let have = had
    let synced = had.bytes
    try {
      for await (const piece of data(had.bytes)) {
        have = extend(have, piece)
        if (have.bytes > meta.bytes) return have
        await guard.run(() => writer.write(piece))
        if (have.bytes - synced < SYNC_EVERY) continue
        await guard.run(() => writer.sync())
        synced = have.bytes
      }
      return have
    } finally {
      await guard.run(() => writer.sync()).finally(() => writer.close())
    }
  }

  /** A received snapshot becomes one of this member's own. */
  accept(meta: SnapshotMeta): Promise<void> {
    return this.#guard.run(() => this.#disk.rename(part(meta), whole(meta)))
  }

  /** The bytes from `from` on. All of them are read and checked, or a rotten beginning would be sent again and again. */
  async *read(meta: SnapshotMeta, from = 0): SnapshotSource {
    let seen: Written = { bytes: 0, crc32c: 0 }
    const pieces = this.#disk.read(whole(meta))[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await this.#guard.run(() => pieces.next())
        if (next.done) break
        const skip = Math.max(0, from - seen.bytes)
        seen = extend(seen, next.value)
        if (skip < next.value.length) yield next.value.subarray(skip)
      }
    } finally {
      await pieces.return?.()
    }
    if (seen.bytes !== meta.bytes || seen.crc32c !== meta.crc32c)
      await this.#guard.run(() =>
        Promise.reject(
          new StoreError('corrupt', `${this.#disk.where}: ${whole(meta)} is damaged. ${REJOIN}`),
        ),
      )
  }

  hold(meta: SnapshotMeta): HeldSnapshot {
    const name = whole(meta)
    let held = true
    const read = async function* (files: SnapshotFiles, from: number): SnapshotSource {
      if (!held) throw new RaftError('dropped', `the snapshot ${meta.index} was let go`)
      // A hold of its own: a transfer may be given up while the disk still works on a piece.
      files.#retain(name)
      try {
        yield* files.read(meta, from)
      } finally {
        await files.#letGo(name)
      }
    }
    this.#retain(name)
    return {
      meta,
      read: (from) => read(this, from),
      release: async () => {
        if (!held) return
        held = false
        await this.#letGo(name)
      },
    }
  }

  #retain(name: string): void {
    this.#holds.set(name, (this.#holds.get(name) ?? 0) + 1)
  }

  async #letGo(name: string): Promise<void> {
    const left = (this.#holds.get(name) ?? 1) - 1
    if (left > 0) this.#holds.set(name, left)
    else this.#holds.delete(name)
    if (left === 0 && this.#doomed.delete(name)) await this.#guard.run(() => this.#disk.remove(name))
  }

  /** Removed now, or when nobody holds it any more. */
  async remove(at: Point): Promise<void> {
    const name = whole(at)
    if (this.#holds.has(name)) this.#doomed.add(name)
    else await this.#guard.run(() => this.#disk.remove(name))
  }
}

const inFolder = (name: string): string => `${FOLDER}/${name}`
const whole = (at: Point): string => inFolder(`${at.index}-${at.term}${WHOLE}`)
const part = (m: SnapshotMeta): string =>
  inFolder(`${m.index}-${m.term}-${m.bytes}-${m.crc32c.toString(16)}${PART}`)
const indexOf = (name: string): Index => Number(name.split('-')[0])
