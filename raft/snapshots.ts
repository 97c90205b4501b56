import type { DriverOptions, OpenOptions, StateMachine } from './driver-api.ts'
import { members } from './confchange.ts'
import type { Metrics } from './metrics.ts'
import type { RaftNode } from './node.ts'
import { Sessions, splitRows, withRows, type SessionRow } from './sessions.ts'
import { StoreError } from './store.ts'
import { RaftError, assertInvariant, type Index, type NodeId, type SnapshotMessage } from './types.ts'

export interface SnapshotHost {
  readonly node: RaftNode
  rows(): readonly SessionRow[]
  /** The state machine's storage holds everything applied, for good. */
  flush(): Promise<void>
  fatal(e: unknown): void
  schedule(): void
}

/** When snapshots are taken, sent and received. Taking one is the only thing that lets the log be cut. */
export class Snapshots {
  readonly #o: OpenOptions
  readonly #options: DriverOptions
  readonly #metrics: Metrics
  readonly #host: SnapshotHost
  #taking: Promise<void> | undefined
  #receiving: Promise<void> | undefined
  /** Snapshots under way to members. Entries after them stay, or the receiver would need the next one at once. */
  readonly #sending = new Map<NodeId, Index>()

  constructor(o: OpenOptions, options: DriverOptions, metrics: Metrics, host: SnapshotHost) {
    this.#o = o
    this.#options = options
    this.#metrics = metrics
    this.#host = host
  }

  /** Nothing of ours writes any more, until asked again. */
  async idle(): Promise<void> {
    await this.#taking
  }

  maybeTake(): void {
    const { store } = this.#o
    const { node } = this.#host
    if (this.#taking || node.hasPendingSnapshot) return
    const have = store.snapshot()?.index ?? 0
    const index = node.appliedIndex
    const wanted = node.takeSnapshotWanted() && this.#isWanted(have)
    const { snapshotEntries, snapshotBytes } = this.#options
    const due = index - have >= snapshotEntries || store.bytesAfter(have) >= snapshotBytes
    if (index <= have || !(due || wanted)) return
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

  /** The wish may be older than the last snapshot. */
  #isWanted(have: Index): boolean {
    const meta = this.#o.store.snapshot()
    if (!meta || meta.bytes === 0 || have < this.#o.store.firstIndex() - 1) return true
    return members(this.#host.node.conf).some((id) => !members(meta.conf).includes(id))
  }

  async #take(index: Index): Promise<void> {
    const { store, stateMachine } = this.#o
    const term = store.term(index)
    assertInvariant(term !== undefined, () => `applied entry ${index} is not in the log`)
    const { conf } = this.#host.node
    const rows = this.#host.rows()
    const image = stateMachine.snapshot()
    // The state machine does not see configurations, registrations and empty entries.
    assertInvariant(image.index <= index, () => `the state machine is at ${image.index}, beyond ${index}`)
    await this.#host.flush()
    await store.createSnapshot({ index, term, conf }, withRows(rows, image.data))
    this.#metrics.snapshotsTaken++
    const to = this.#compactTo()
    if (to >= store.firstIndex()) await store.compact(to)
    this.#o.log?.info('snapshot taken', { index, compacted: to })
  }

  #compactTo(): Index {
    const { store } = this.#o
    const { trailingEntries, snapshotBytes } = this.#options
    const index = store.snapshot()?.index ?? 0
    let keep = trailingEntries
    while (keep > 0 && store.bytesAfter(index - keep) > snapshotBytes) keep = keep >> 1
    const to = index - keep
    const inUse = Math.min(to, ...this.#sending.values())
    // A receiver that is slower than the log grows may not make it grow without end.
    return store.bytesAfter(inUse) > 8 * snapshotBytes ? to : inUse
  }

  send(m: SnapshotMessage): void {
    const { store, transport } = this.#o
    const report = (ok: boolean) => {
      this.#sending.delete(m.to)
      if (ok) this.#metrics.snapshotsSent++
      else this.#metrics.snapshotsFailed++
      this.#host.node.reportSnapshot(m.to, ok)
      this.#host.schedule()
    }
    if (store.snapshot()?.index !== m.meta.index) {
      report(false)
      return
    }
    this.#sending.set(m.to, m.meta.index)
    this.#o.log?.info('sending a snapshot', { to: m.to, index: m.meta.index, bytes: m.meta.bytes })
    transport.sendSnapshot(m, this.#ownData()).then(
      () => report(true),
      (e: unknown) => {
        this.#o.log?.warn('a snapshot was not delivered', { to: m.to, error: String(e) })
        report(false)
      },
    )
  }

  /** A snapshot of ours that cannot be read is our failure, not the receiver's. */
  async *#ownData(): AsyncIterable<Uint8Array> {
    try {
      yield* this.#o.store.openSnapshot()
    } catch (e) {
      if (e instanceof StoreError && e.code === 'corrupt') this.#host.fatal(e)
      throw e
    }
  }

  /** Stores the bytes of a snapshot that the core may be told of. One at a time. */
  async receive(m: SnapshotMessage, data: AsyncIterable<Uint8Array>): Promise<void> {
    const { node } = this.#host
    if (m.term < node.term || m.meta.index <= node.commitIndex) return // the core answers without the data
    if (this.#receiving || node.hasPendingSnapshot)
      throw new RaftError('busy', 'another snapshot is being received')
    const work = this.#o.store.receiveSnapshot(m.meta, data)
    this.#receiving = work
    try {
      await work
    } finally {
      this.#receiving = undefined
    }
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
