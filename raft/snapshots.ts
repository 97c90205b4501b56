import type { DriverOptions, OpenOptions, StateMachine } from './driver-api.ts'
import { members } from './confchange.ts'
import { systemEnv } from './env.ts'
import type { Metrics } from './metrics.ts'
import type { RaftNode } from './node.ts'
import { Sessions, splitRows, withRows, type SessionRow } from './sessions.ts'
import { StoreError, type SnapshotBytes, type SnapshotPoint, type SnapshotSource } from './store.ts'
import { Transfers } from './transfers.ts'
import { RaftError, assertInvariant, type Index, type SnapshotMessage } from './types.ts'

/** Bytes that a snapshot may have without being put off for its size. */
const SMALL_STATE = 1 << 20
/** So many bytes of log are worth one byte of a large state's snapshot. */
const LOG_PER_STATE = 2
/** The log, which lies in memory, grows to so many times `snapshotBytes`, however large the state. */
const MAX_LOG = 4

export interface SnapshotHost {
  readonly node: RaftNode
  rows(): readonly SessionRow[]
  /** The state machine's storage holds everything applied, for good. */
  flush(): Promise<void>
  fatal(e: unknown): void
  schedule(): void
}

/** How many times `snapshotBytes` of log may be kept for members that are being sent a snapshot. */
const RETAINED = 8

/** When snapshots are taken, sent and received. Taking one is the only thing that lets the log be cut. */
export class Snapshots {
  readonly #o: OpenOptions
  readonly #options: DriverOptions
  readonly #metrics: Metrics
  readonly #host: SnapshotHost
  #taking: Promise<void> | undefined
  #receiving: { readonly done: Promise<unknown>; readonly cut: (why: RaftError) => void } | undefined
  readonly #transfers: Transfers

  constructor(o: OpenOptions, options: DriverOptions, metrics: Metrics, host: SnapshotHost) {
    this.#o = o
    this.#options = options
    this.#metrics = metrics
    this.#host = host
    this.#transfers = new Transfers(o, {
      node: host.node,
      env: o.env ?? systemEnv,
      bytesPerSecond: options.snapshotBytesPerSecond,
      fatal: (e) => host.fatal(e),
      ended: (ok) => {
        if (ok) metrics.snapshotsSent++
        else metrics.snapshotsFailed++
        host.schedule()
      },
    })
  }

  /** Nothing of ours writes any more, until asked again. */
  async idle(): Promise<void> {
    await this.#taking
  }

  maybeTake(): void {
    this.#transfers.tidy()
    const { store } = this.#o
    const { node } = this.#host
    if (this.#taking || node.hasPendingSnapshot) return
    const have = store.snapshot()?.index ?? 0
    const index = node.appliedIndex
    const wanted = node.takeSnapshotWanted() && this.#isWanted(have)
    if (index <= have || !(this.#isDue(index, have) || wanted)) return
    this.#taking = this.#take(index).then(
      () => {
        this.#taking = undefined
        this.#host.schedule()
      },
      (e: unknown) => {
        this.#taking = undefined
        this.#host.fatal(e)
      },
    )
  }

  /**
   * After so many entries or bytes of log, and when the log is twice as long as a snapshot of a large state: each byte of
   * log then costs about half a byte of snapshot, however large the state (thesis 5.1.3).
   */
  #isDue(index: Index, have: Index): boolean {
    const { snapshotEntries, snapshotBytes } = this.#options
    const { store } = this.#o
    const grown = store.bytesAfter(have)
    if (index - have < snapshotEntries && grown < snapshotBytes) return false
    const last = store.snapshot()?.bytes ?? 0
    return grown >= Math.min(LOG_PER_STATE * (last - SMALL_STATE), MAX_LOG * snapshotBytes)
  }

  /** The wish may be older than the last snapshot. */
  #isWanted(have: Index): boolean {
    const meta = this.#o.store.snapshot()
    if (!meta || meta.bytes === 0 || have < this.#o.store.firstIndex() - 1) return true
    return members(this.#host.node.conf).some((id) => !members(meta.conf).includes(id))
  }

  async #take(index: Index): Promise<void> {
    const { store } = this.#o
    const { data, ...at } = this.image(index)
    await this.#host.flush()
    await store.createSnapshot(at, data)
    this.#metrics.snapshotsTaken++
    const to = this.#compactTo()
    if (to >= store.firstIndex()) await store.compact(to)
    this.#o.log?.info('snapshot taken', { index, firstIndex: store.firstIndex() })
  }

  /** What a snapshot at the applied index holds; read later, while apply goes on. */
  image(index = this.#host.node.appliedIndex): SnapshotPoint & { readonly data: SnapshotSource } {
    const { store, stateMachine } = this.#o
    const term = store.term(index)
    assertInvariant(term !== undefined, () => `applied entry ${index} is not in the log`)
    const { conf } = this.#host.node
    const rows = this.#host.rows()
    const image = stateMachine.snapshot()
    // The state machine does not see configurations, registrations and empty entries.
    assertInvariant(image.index <= index, () => `the state machine is at ${image.index}, beyond ${index}`)
    return { index, term, conf, data: withRows(rows, image.data) }
  }

  #compactTo(): Index {
    const { store } = this.#o
    const { trailingEntries, snapshotBytes } = this.#options
    const index = store.snapshot()?.index ?? 0
    let keep = trailingEntries
    while (keep > 0 && store.bytesAfter(index - keep) > snapshotBytes) keep = keep >> 1
    // A receiver that is slower than the log grows may not make it grow without end.
    const inUse = this.#transfers.needed().filter((at) => store.bytesAfter(at) <= RETAINED * snapshotBytes)
    return Math.min(index - keep, ...inUse)
  }

  send(m: SnapshotMessage): void {
    this.#transfers.send(m)
  }

  /**
   * Stores the bytes of a snapshot that the core may be told of. One at a time, the newest: who sends another one has
   * given up the one before, and its line may be dead without anybody telling.
   */
  async receive(m: SnapshotMessage, data: SnapshotBytes): Promise<void> {
    while (this.#receiving && this.#isNews(m)) {
      this.#receiving.cut(new RaftError('dropped', 'another snapshot came'))
      await this.#receiving.done
    }
    if (!this.#isNews(m)) return // the core answers without the data
    if (this.#host.node.hasPendingSnapshot) throw new RaftError('busy', 'a snapshot is being installed')
    const { promise: broken, reject: cut } = Promise.withResolvers<never>()
    broken.catch(() => {})
    const work = this.#store(m, (from) => ofSender(data(from), broken))
    const done = work.catch(() => {}).then(() => (this.#receiving = undefined))
    this.#receiving = { done, cut }
    await work
  }

  #isNews({ term, meta }: SnapshotMessage): boolean {
    const { node } = this.#host
    return term >= node.term && meta.index > node.commitIndex
  }

  async #store(m: SnapshotMessage, data: SnapshotBytes): Promise<void> {
    try {
      await this.#o.store.receiveSnapshot(m.meta, data)
    } catch (e) {
      if (e instanceof StoreError) this.#host.fatal(e)
      throw e
    }
  }
}

/** What fails at the sender is never taken for a failure of the own storage. Ends when `broken` says so, too. */
async function* ofSender(data: SnapshotSource, broken: Promise<never>): SnapshotSource {
  const pieces = data[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await Promise.race([pieces.next(), broken])
      if (next.done) return
      yield next.value
    }
  } catch (cause) {
    throw new RaftError('dropped', `the snapshot broke off: ${String(cause)}`, { cause })
  } finally {
    // Not waited for: the piece before may never come.
    pieces.return?.().catch(() => {})
  }
}

export async function restoreFrom(
  data: AsyncIterable<Uint8Array>,
  index: Index,
  stateMachine: StateMachine,
): Promise<Sessions> {
  const { rows, image } = await splitRows(data)
  await stateMachine.restore(index, rows, image)
  return new Sessions(rows)
}
