import { crc32c } from './crc32c.ts'
import {
  BaseStore,
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
  RaftError,
  type ConfState,
  type Entry,
  type HardState,
  type Index,
  type SnapshotMeta,
} from './types.ts'

interface State {
  tail: LogTail
  hard: HardState
  meta: SnapshotMeta | undefined
  image: Uint8Array
}

/** A store for tests and simulations. Remembers what a crash would leave: everything up to the last synced write. */
export class MemoryStore extends BaseStore implements LogStore {
  #image: Uint8Array = new Uint8Array(0)
  #received: { meta: SnapshotMeta; image: Uint8Array } | undefined
  /** What has arrived of a snapshot. A crash loses it. */
  #part: { meta: SnapshotMeta; pieces: Uint8Array[] } | undefined
  #durable: State
  /** Writes since the last sync, to be repeated on the durable state. */
  #lazy: ((s: State) => void)[] = []
  #closed = false

  constructor(conf: ConfState, from?: State) {
    const { hard, snapshot } = foundation(conf)
    const s = from ?? { tail: tailAt(snapshot), hard, meta: snapshot, image: new Uint8Array(0) }
    super(copyTail(s.tail), s.hard, s.meta)
    this.#image = s.image
    this.#durable = { ...s, tail: copyTail(s.tail) }
  }

  /** The store as found after a crash of the machine. */
  crashed(): MemoryStore {
    this.#closed = true
    return new MemoryStore(this.#durable.meta?.conf ?? this.initial().conf, this.#durable)
  }

  /** What `initial` would say then. */
  afterPowerCut(): { hard: HardState } {
    return { hard: this.#durable.hard }
  }

  appendNow(entries: readonly Entry[], hard: HardState | undefined, sync: boolean): void {
    this.#write(sync, (s) => {
      s.tail.append(entries)
      if (hard) s.hard = hard
    })
  }

  installNow(meta: SnapshotMeta, image: Uint8Array, hard: HardState | undefined): void {
    this.#write(true, (s) => {
      s.tail = tailAt(meta)
      s.meta = meta
      s.image = image
      if (hard) s.hard = hard
    })
  }

  createNow(at: SnapshotPoint, image: Uint8Array): void {
    if (at.index <= (this.meta?.index ?? 0)) return
    const meta = { ...at, bytes: image.length, crc32c: crc32c(image) }
    this.#write(true, (s) => {
      s.meta = meta
      s.image = image
    })
  }

  compactNow(to: Index): void {
    if (to >= this.firstIndex()) this.#write(false, (s) => s.tail.compact(to))
  }

  get image(): Uint8Array {
    return this.#image
  }

  async append(entries: readonly Entry[], hard: HardState | undefined, sync: boolean): Promise<void> {
    this.appendNow(entries, hard, sync)
  }
  async createSnapshot(at: SnapshotPoint, data: SnapshotSource): Promise<void> {
    this.createNow(at, await collect(data))
  }
  async receiveSnapshot(meta: SnapshotMeta, data: SnapshotBytes): Promise<void> {
    if (!this.#part || !sameSnapshot(this.#part.meta, meta)) this.#part = { meta, pieces: [] }
    const { pieces } = this.#part
    const had = pieces.reduce((n, p) => n + p.length, 0)
    for await (const piece of data(had)) pieces.push(Uint8Array.from(piece))
    this.#part = undefined
    const image = Buffer.concat(pieces)
    if (image.length !== meta.bytes || crc32c(image) !== meta.crc32c)
      throw new RaftError('codec', `the snapshot ${meta.index} arrived damaged`)
    this.#received = { meta, image }
  }
  async installSnapshot(meta: SnapshotMeta, hard: HardState | undefined): Promise<void> {
    if (this.#received?.meta.index !== meta.index)
      throw new StoreError('missing', 'this snapshot was not received')
    this.installNow(meta, this.#received.image, hard)
    this.#received = undefined
  }
  async *openSnapshot(): SnapshotSource {
    yield this.#image
  }
  holdSnapshot(): HeldSnapshot {
    if (!this.meta) throw new StoreError('missing', 'there is no snapshot')
    const image = this.#image
    async function* read(from: number): SnapshotSource {
      if (from < image.length) yield image.subarray(from)
    }
    return { meta: this.meta, read, release: () => Promise.resolve() }
  }
  async compact(to: Index): Promise<void> {
    this.compactNow(to)
  }
  async close(): Promise<void> {
    this.#closed = true
  }

  #write(sync: boolean, change: (s: State) => void): void {
    if (this.#closed) throw new StoreError('closed', 'the store is closed')
    const s: State = { tail: this.tail, hard: this.hard, meta: this.meta, image: this.#image }
    change(s)
    this.tail = s.tail
    this.hard = s.hard
    this.meta = s.meta
    this.#image = s.image
    this.#lazy.push(change)
    if (!sync) return
    for (const f of this.#lazy) f(this.#durable)
    this.#lazy = []
  }
}

function tailAt(meta: SnapshotMeta | undefined): LogTail {
  return new LogTail(meta?.index ?? 0, meta?.term ?? 0)
}

function copyTail(t: LogTail): LogTail {
  const base = t.firstIndex - 1
  return new LogTail(base, t.term(base) ?? 0, t.slice(base + 1, t.lastIndex + 1, Infinity))
}

function sameSnapshot(a: SnapshotMeta, b: SnapshotMeta): boolean {
  return a.index === b.index && a.term === b.term && a.bytes === b.bytes && a.crc32c === b.crc32c
}

async function collect(data: SnapshotSource): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const c of data) chunks.push(c)
  return Buffer.concat(chunks)
}
