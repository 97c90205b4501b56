import { access, mkdir, readFile, readdir, rm, stat } from 'node:fs/promises'
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { Level } from 'level'
import type { Reader } from './bytes.ts'
import { crc32c } from './crc32c.ts'
import { syncDirectory, writeDurably } from './files.ts'
import { REJOIN, checkLevelFiles } from './leveldb-check.ts'
import {
  batchKey,
  decodeBase,
  decodeBatch,
  decodeHard,
  decodeSnapshot,
  encodeBase,
  encodeBatch,
} from './records.ts'
import { encodeHard, encodeSnapshot, seal } from './records.ts'
import {
  BaseStore,
  StoreError,
  foundation,
  type LogStore,
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
} from './types.ts'

type Db = Level<string, Buffer>
type Op = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

/** Whose data it is; a store of anybody else is refused. */
export interface StoreIdentity {
  readonly id: number
  readonly clusterId: string
}

/** One LevelDB value: entries first … last, written by one append. */
interface Batch {
  readonly key: string
  readonly first: Index
  last: Index
}

/**
 * Log store on LevelDB. One value per append, not one per entry: a quarter of the cost. LevelDB's own checks let lost
 * and changed records pass, so every record has a checksum, `open` looks at every one, and the hard state names the
 * last entry that must be there.
 *
 * Layout: `dir/identity.json` (outside of LevelDB, so that losing one is noticed), `dir/log/` LevelDB,
 * `dir/snapshots/<index>-<term>.snap`.
 */
export class LevelLogStore extends BaseStore implements LogStore {
  readonly #dir: string
  readonly #db: Db
  #batches: Batch[]
  #received: SnapshotMeta | undefined
  #failed: StoreError | undefined

  private constructor(dir: string, db: Db, state: Loaded) {
    super(state.tail, state.hard, state.meta)
    this.#dir = dir
    this.#db = db
    this.#batches = state.batches
  }

  /** The only way to a new database. Founders give the first configuration, members who join later an empty one. */
  static async create(dir: string, o: StoreIdentity & { conf: ConfState }): Promise<LevelLogStore> {
    if (await exists(path.join(dir, IDENTITY)))
      throw new StoreError(
        'exists',
        `${dir} already holds the data of a member. Open it, or delete it first.`,
      )
    await mkdir(path.join(dir, SNAPSHOTS), { recursive: true, mode: 0o700 })
    const logDir = path.join(dir, LOG)
    // A creation that was interrupted has no identity yet and never was used.
    await rm(logDir, { recursive: true, force: true })
    const db: Db = new Level(logDir, { ...LEVEL_OPTIONS, createIfMissing: true, errorIfExists: true })
    await db.open()
    const { hard, snapshot } = foundation(o.conf)
    const base = { index: snapshot?.index ?? 0, term: snapshot?.term ?? 0 }
    const ops: Op[] = [
      { type: 'put', key: HARD, value: encodeHard({ ...hard, lastIndex: base.index, lastTerm: base.term }) },
      { type: 'put', key: BASE, value: encodeBase(base) },
    ]
    if (snapshot) ops.push({ type: 'put', key: SNAPSHOT, value: encodeSnapshot(snapshot) })
    await db.batch(ops, { sync: true })
    await db.close()
    await syncDirectory(logDir)
    await syncDirectory(dir)
    // Last: with it, the member exists.
    const identity = JSON.stringify({ format: FORMAT, id: o.id, clusterId: o.clusterId }) + '\n'
    await writeDurably(path.join(dir, IDENTITY), [Buffer.from(identity)])
    return LevelLogStore.open(dir, o)
  }

  /** Refuses with a StoreError whatever is not exactly what was acknowledged. */
  static async open(dir: string, o: StoreIdentity): Promise<LevelLogStore> {
    await checkIdentity(dir, o)
    const logDir = path.join(dir, LOG)
    await checkLevelFiles(logDir)
    const db: Db = new Level(logDir, { ...LEVEL_OPTIONS, createIfMissing: false })
    try {
      await db.open()
    } catch (e) {
      throw openError(logDir, e)
    }
    try {
      // LevelDB renames CURRENT on open and does not sync the directory.
      await syncDirectory(logDir)
      const state = await load(dir, db)
      return new LevelLogStore(dir, db, state)
    } catch (e) {
      await db.close()
      throw e instanceof StoreError ? e : openError(logDir, e)
    }
  }

  async append(entries: readonly Entry[], hard: HardState | undefined, sync: boolean): Promise<void> {
    const last = entries.at(-1) ?? { index: this.tail.lastIndex, term: this.tail.lastTerm }
    const nextHard = hard ?? this.hard
    const ops = this.#placeEntries(entries)
    ops.push({
      type: 'put',
      key: HARD,
      value: encodeHard({ ...nextHard, lastIndex: last.index, lastTerm: last.term }),
    })
    await this.#write(ops, sync)
    this.tail.append(entries)
    this.hard = nextHard
  }

  /**
   * Where new entries replace old ones, later batches go and the one that straddles the cut is written again. The list
   * changes at once: a compaction may run while the write is under way.
   */
  #placeEntries(entries: readonly Entry[]): Op[] {
    const first = entries[0]
    if (!first) return []
    const ops: Op[] = []
    const batches = this.#batches
    while ((batches.at(-1)?.last ?? 0) >= first.index) {
      const cut = batches.pop() as Batch
      ops.push({ type: 'del', key: cut.key })
      const from = Math.max(cut.first, this.tail.firstIndex)
      if (from >= first.index) continue
      const rest = this.tail.slice(from, first.index, Infinity)
      batches.push({ key: batchKey(from), first: from, last: first.index - 1 })
      ops.push({ type: 'put', key: batchKey(from), value: encodeBatch(rest) })
    }
    batches.push({ key: batchKey(first.index), first: first.index, last: first.index + entries.length - 1 })
    ops.push({ type: 'put', key: batchKey(first.index), value: encodeBatch(entries) })
    return ops
  }

  async createSnapshot(at: SnapshotPoint, data: SnapshotSource): Promise<void> {
    this.#check()
    const file = this.#file(at)
    const written = await this.#io(() => writeDurably(file, data))
    if (at.index <= (this.meta?.index ?? 0)) {
      if (at.index !== this.meta?.index) await rm(file, { force: true })
      return
    }
    await this.#replaceSnapshot({ ...at, ...written }, [])
  }

  async receiveSnapshot(meta: SnapshotMeta, data: SnapshotSource): Promise<void> {
    this.#check()
    if (this.#received) await rm(this.#file(this.#received), { force: true })
    this.#received = undefined
    await writeDurably(this.#file(meta), data, ({ bytes, crc32c }) => {
      if (bytes !== meta.bytes || crc32c !== meta.crc32c)
        throw new StoreError('corrupt', `the snapshot ${meta.index} arrived damaged`)
    })
    this.#received = meta
  }

  async installSnapshot(meta: SnapshotMeta, hard: HardState | undefined): Promise<void> {
    assertInvariant(
      this.#received?.index === meta.index,
      'a snapshot must be received before it is installed',
    )
    const nextHard = hard ?? this.hard
    const ops: Op[] = this.#batches.map(({ key }) => ({ type: 'del', key }))
    ops.push({ type: 'put', key: BASE, value: encodeBase(meta) })
    ops.push({
      type: 'put',
      key: HARD,
      value: encodeHard({ ...nextHard, lastIndex: meta.index, lastTerm: meta.term }),
    })
    await this.#replaceSnapshot(meta, ops)
    this.#received = undefined
    this.#batches = []
    this.tail = new LogTail(meta.index, meta.term)
    this.hard = nextHard
  }

  async #replaceSnapshot(meta: SnapshotMeta, ops: Op[]): Promise<void> {
    const old = this.meta
    await this.#write([...ops, { type: 'put', key: SNAPSHOT, value: encodeSnapshot(meta) }], true)
    this.meta = meta
    if (old && old.bytes > 0) await rm(this.#file(old), { force: true })
  }

  openSnapshot(): SnapshotSource {
    const { meta } = this
    if (!meta || meta.bytes === 0) throw new StoreError('missing', 'there is no snapshot')
    return readSnapshot(this.#file(meta), meta)
  }

  async compact(to: Index): Promise<void> {
    if (to < this.firstIndex()) return
    assertInvariant(to <= (this.meta?.index ?? 0), 'the log may be compacted up to the snapshot only')
    const term = this.tail.term(to)
    assertInvariant(term !== undefined, () => `compaction beyond the log's end: ${to}`)
    const ops: Op[] = [{ type: 'put', key: BASE, value: encodeBase({ index: to, term }) }]
    let drop = 0
    for (const b of this.#batches) {
      if (b.last > to) break
      ops.push({ type: 'del', key: b.key })
      drop++
    }
    // Not synced: losing it brings back entries that do no harm. In memory at once, so that an append that runs
    // alongside sees the same batches.
    this.#batches = this.#batches.slice(drop)
    this.tail.compact(to)
    await this.#write(ops, false)
  }

  async close(): Promise<void> {
    this.#failed ??= new StoreError('closed', 'the store is closed')
    await this.#db.close()
  }

  #file(at: { index: Index; term: number }): string {
    return snapshotFile(this.#dir, at)
  }

  #check(): void {
    if (this.#failed) throw this.#failed
  }

  #write(ops: Op[], sync: boolean): Promise<void> {
    return this.#io(() => this.#db.batch(ops, { sync }))
  }

  /** After one failed write LevelDB may acknowledge later ones that are lost on reopen: the first error ends it all. */
  async #io<T>(work: () => Promise<T>): Promise<T> {
    this.#check()
    try {
      return await work()
    } catch (cause) {
      const error =
        cause instanceof StoreError ? cause : new StoreError('io', `${this.#dir}: a write failed`, { cause })
      this.#failed = error
      throw error
    }
  }
}

const FORMAT = 1
const IDENTITY = 'identity.json'
const LOG = 'log'
const SNAPSHOTS = 'snapshots'
const HARD = 'hard'
const BASE = 'base'
const SNAPSHOT = 'snapshot'
// Values are checked by our own checksums and are mostly incompressible or small.
const LEVEL_OPTIONS = { compression: false, writeBufferSize: 16 << 20, valueEncoding: 'buffer' } as const

interface Loaded {
  readonly tail: LogTail
  readonly hard: HardState
  readonly meta: SnapshotMeta | undefined
  readonly batches: Batch[]
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  )
}

async function* readSnapshot(file: string, meta: SnapshotMeta): SnapshotSource {
  let crc = 0
  let bytes = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18 })) {
    const data = chunk as Buffer
    crc = crc32c(data, crc)
    bytes += data.length
    yield data
  }
  if (crc !== meta.crc32c || bytes !== meta.bytes)
    throw new StoreError('corrupt', `${file} is damaged. ${REJOIN}`)
}

function snapshotFile(dir: string, at: { index: Index; term: number }): string {
  return path.join(dir, SNAPSHOTS, `${at.index}-${at.term}.snap`)
}

async function checkIdentity(dir: string, o: StoreIdentity): Promise<void> {
  const file = path.join(dir, IDENTITY)
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) {
    if (await exists(path.join(dir, LOG, 'CURRENT')))
      throw new StoreError(
        'corrupt',
        `${file} is lost although there is a log: creation was cut off or a file vanished. ${REJOIN}`,
      )
    throw new StoreError(
      'missing',
      `${dir} holds no member's data. Create it first, or look whether the disk is mounted.`,
    )
  }
  let found: { format?: unknown; id?: unknown; clusterId?: unknown }
  try {
    found = JSON.parse(text) as typeof found
  } catch (cause) {
    throw new StoreError('corrupt', `${file} is damaged. ${REJOIN}`, { cause })
  }
  if (found.format !== FORMAT)
    throw new StoreError(
      'foreign',
      `${file}: format ${String(found.format)} is not known to this version. Upgrade it.`,
    )
  if (found.id !== o.id || found.clusterId !== o.clusterId)
    throw new StoreError(
      'foreign',
      `${dir} belongs to member ${String(found.id)} of cluster ${String(found.clusterId)}, not to member ${o.id} of ${o.clusterId}. Was a directory copied?`,
    )
}

function openError(dir: string, e: unknown): StoreError {
  const cause = e instanceof Error && e.cause instanceof Error ? e.cause : e
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const message = cause instanceof Error ? cause.message : String(cause)
  if (code === 'LEVEL_LOCKED')
    return new StoreError('locked', `${dir} is in use by another process`, { cause })
  return new StoreError('corrupt', `${dir} cannot be opened: ${message}. ${REJOIN}`, { cause })
}

async function load(dir: string, db: Db): Promise<Loaded> {
  const record = async <T>(key: string, decode: (r: Reader) => T): Promise<T | undefined> => {
    const value = (await db.get(key)) as Buffer | undefined
    return value && seal.open(value, `${dir}: record ${key}`, decode)
  }
  const hard = await record(HARD, decodeHard)
  const base = await record(BASE, decodeBase)
  const meta = await record(SNAPSHOT, decodeSnapshot)
  if (!hard || !base) throw new StoreError('corrupt', `${dir}: the hard state is lost. ${REJOIN}`)
  const tail = new LogTail(base.index, base.term)
  const batches: Batch[] = []
  for await (const [key, value] of db.iterator({ gte: batchKey(0), lt: 'f' })) {
    const entries = seal.open(value, `${dir}: entries ${key}`, decodeBatch)
    addBatch(dir, tail, batches, key, entries)
  }
  if (tail.lastIndex !== hard.lastIndex || tail.lastTerm !== hard.lastTerm)
    throw corrupt(dir, `the log ends at ${tail.lastIndex}, but ${hard.lastIndex} was acknowledged`)
  if (hard.commit > tail.lastIndex || (meta?.index ?? 0) < base.index)
    throw corrupt(dir, 'hard state, snapshot and log contradict each other')
  await checkSnapshots(dir, meta)
  const { term, vote, commit } = hard
  return { tail, hard: { term, vote, commit }, meta, batches }
}

/** No gap, no overlap, no step back in term; only the first batch may begin before the base. */
function addBatch(
  dir: string,
  tail: LogTail,
  batches: Batch[],
  key: string,
  entries: readonly Entry[],
): void {
  const first = entries[0]
  const last = entries.at(-1)
  if (!first || !last || batchKey(first.index) !== key)
    throw corrupt(dir, `record ${key} is not what its key says`)
  if (entries.some((e, i) => e.index !== first.index + i)) throw corrupt(dir, `record ${key} has a gap`)
  const overlap = tail.lastIndex + 1 - first.index
  if (overlap < 0 || (overlap > 0 && batches.length > 0))
    throw corrupt(dir, `there is a gap before entry ${first.index}`)
  batches.push({ key, first: first.index, last: last.index })
  const news = entries.slice(overlap)
  if (news.some((e, i) => e.term < (news[i - 1]?.term ?? tail.lastTerm)))
    throw corrupt(dir, `terms fall in record ${key}`)
  tail.append(news)
}

function corrupt(dir: string, what: string): StoreError {
  return new StoreError('corrupt', `${dir}: ${what}. ${REJOIN}`)
}

async function checkSnapshots(dir: string, meta: SnapshotMeta | undefined): Promise<void> {
  const keep = meta && meta.bytes > 0 ? snapshotFile(dir, meta) : undefined
  if (keep) {
    const found = await stat(keep).catch(() => undefined)
    if (found?.size !== meta?.bytes) throw corrupt(dir, `the snapshot ${keep} is lost or cut off`)
  }
  // Left by a crash between writing the file and naming it.
  for (const name of await readdir(path.join(dir, SNAPSHOTS))) {
    const file = path.join(dir, SNAPSHOTS, name)
    if (file !== keep) await rm(file, { force: true })
  }
}
