import { Batches } from './batches.ts'
import type { Disk, KeyValue, KvOp } from './disk.ts'
import {
  checkIdentity,
  load,
  names,
  records,
  writeIdentity,
  type Loaded,
  type StoreIdentity,
} from './disk-load.ts'
import { encodeBase, encodeHard, encodeSnapshot } from './records.ts'
import { SnapshotFiles } from './snapshot-files.ts'
import { StorageGuard } from './storage-guard.ts'
import {
  BaseStore,
  REJOIN,
  StoreError,
  foundation,
  type HeldSnapshot,
  type LogStore,
  type SnapshotBytes,
  type SnapshotPoint,
  type SnapshotSource,
} from './store.ts'
import { LogTail } from './tail.ts'
import {
  assertInvariant,
  type ConfState,
  type Entry,
  type HardState,
  type Index,
  type SnapshotMeta,
  type Term,
} from './types.ts'

/**
 * Log store on a disk. LevelDB's own checks let lost and changed records pass, so every record has a checksum, `open`
 * looks at every one, and the hard state names the last entry that must be there.
 *
 * Layout: `identity.json` (outside of the database, so that losing one is noticed), the database `log`, `snapshots/`.
 */
export class DiskStore extends BaseStore implements LogStore {
  readonly #kv: KeyValue
  readonly #guard: StorageGuard
  readonly #files: SnapshotFiles
  readonly #batches: Batches
  #received: SnapshotMeta | undefined

  private constructor(disk: Disk, kv: KeyValue, state: Loaded) {
    super(state.tail, state.hard, state.meta)
    this.#kv = kv
    this.#guard = new StorageGuard(disk.where)
    this.#files = new SnapshotFiles(disk, this.#guard)
    this.#batches = new Batches(state.batches)
  }

  /** The only way to a new database. Founders give the first configuration, members who join later an empty one. */
  static async create(disk: Disk, o: StoreIdentity & { conf: ConfState }): Promise<DiskStore> {
    if (await disk.exists(names.identity))
      throw new StoreError(
        'exists',
        `${disk.where} already holds the data of a member. Open it, or delete it first.`,
      )
    // A creation that was interrupted has no identity yet and never was used.
    const kv = await disk.openDatabase(names.log, { create: true })
    const { hard, snapshot } = foundation(o.conf)
    const base = { index: snapshot?.index ?? 0, term: snapshot?.term ?? 0 }
    const ops = [putHard(hard, base.index, base.term), putBase(base.index, base.term)]
    await kv.batch(snapshot ? [...ops, putSnapshot(snapshot)] : ops, true)
    await kv.close()
    // Last: with it, the member exists.
    await writeIdentity(disk, o)
    return DiskStore.open(disk, o)
  }

  /** Refuses with a StoreError whatever is not exactly what was acknowledged. */
  static async open(disk: Disk, o: StoreIdentity): Promise<DiskStore> {
    await checkIdentity(disk, o)
    const kv = await disk.openDatabase(names.log, { create: false }).catch((cause: unknown) => {
      throw cause instanceof StoreError && cause.code !== 'missing' ? cause : unreadable(disk, cause)
    })
    try {
      const state = await load(disk.where, kv)
      await SnapshotFiles.tidy(disk, state.meta)
      return new DiskStore(disk, kv, state)
    } catch (e) {
      await kv.close()
      throw e instanceof StoreError ? e : unreadable(disk, e)
    }
  }

  async append(entries: readonly Entry[], hard: HardState | undefined, sync: boolean): Promise<void> {
    const last = entries.at(-1) ?? { index: this.tail.lastIndex, term: this.tail.lastTerm }
    const nextHard = hard ?? this.hard
    const ops = this.#batches.place(entries, this.tail)
    ops.push(putHard(nextHard, last.index, last.term))
    await this.#write(ops, sync)
    this.tail.append(entries)
    this.hard = nextHard
  }

  async createSnapshot(at: SnapshotPoint, data: SnapshotSource): Promise<void> {
    if (at.index <= (this.meta?.index ?? 0)) return
    const written = await this.#files.write(at, data)
    if (at.index > (this.meta?.index ?? 0)) await this.#replaceSnapshot({ ...at, ...written }, [])
    else await this.#files.remove(at)
  }

  async receiveSnapshot(meta: SnapshotMeta, data: SnapshotBytes): Promise<void> {
    this.#received = undefined
    await this.#files.receive(meta, data)
    this.#received = meta
  }

  async installSnapshot(meta: SnapshotMeta, hard: HardState | undefined): Promise<void> {
    assertInvariant(
      this.#received?.index === meta.index && this.#received.crc32c === meta.crc32c,
      'a snapshot must be received before it is installed',
    )
    const nextHard = hard ?? this.hard
    await this.#files.accept(meta)
    const ops = this.#batches.clear()
    await this.#replaceSnapshot(meta, [
      ...ops,
      putBase(meta.index, meta.term),
      putHard(nextHard, meta.index, meta.term),
    ])
    this.#received = undefined
    this.tail = new LogTail(meta.index, meta.term)
    this.hard = nextHard
  }

  async #replaceSnapshot(meta: SnapshotMeta, ops: readonly KvOp[]): Promise<void> {
    const old = this.meta
    await this.#write([...ops, putSnapshot(meta)], true)
    this.meta = meta
    if (old && old.bytes > 0) await this.#files.remove(old)
  }

  openSnapshot(): SnapshotSource {
    return this.#files.read(this.#sendable())
  }

  holdSnapshot(): HeldSnapshot {
    return this.#files.hold(this.#sendable())
  }

  #sendable(): SnapshotMeta {
    const { meta } = this
    if (!meta || meta.bytes === 0) throw new StoreError('missing', 'there is no snapshot')
    return meta
  }

  async compact(to: Index): Promise<void> {
    if (to < this.firstIndex()) return
    assertInvariant(to <= (this.meta?.index ?? 0), 'the log may be compacted up to the snapshot only')
    const term = this.tail.term(to)
    assertInvariant(term !== undefined, () => `compaction beyond the log's end: ${to}`)
    // Not synced: losing it brings back entries that do no harm. In memory at once, so that an append that runs
    // alongside sees the same batches.
    const ops = this.#batches.compact(to)
    this.tail.compact(to)
    await this.#write([putBase(to, term), ...ops], false)
  }

  async close(): Promise<void> {
    this.#guard.close()
    await this.#kv.close()
  }

  #write(ops: readonly KvOp[], sync: boolean): Promise<void> {
    return this.#guard.run(() => this.#kv.batch(ops, sync))
  }
}

function putHard(hard: HardState, lastIndex: Index, lastTerm: Term): KvOp {
  return { type: 'put', key: records.hard, value: encodeHard({ ...hard, lastIndex, lastTerm }) }
}

function putBase(index: Index, term: Term): KvOp {
  return { type: 'put', key: records.base, value: encodeBase({ index, term }) }
}

function putSnapshot(meta: SnapshotMeta): KvOp {
  return { type: 'put', key: records.snapshot, value: encodeSnapshot(meta) }
}

function unreadable(disk: Disk, cause: unknown): StoreError {
  const what = cause instanceof Error ? cause.message : String(cause)
  return new StoreError('corrupt', `${disk.where} cannot be opened: ${what}. ${REJOIN}`, { cause })
}
