import type { OpenOptions } from './driver-api.ts'
import type { Env } from './env.ts'
import type { RaftNode } from './node.ts'
import { StoreError, type HeldSnapshot, type SnapshotSource } from './store.ts'
import type { Index, NodeId, SnapshotMessage } from './types.ts'

export interface TransferHost {
  readonly node: RaftNode
  readonly env: Env
  readonly bytesPerSecond: number
  ended(ok: boolean): void
  fatal(e: unknown): void
}

/** A snapshot on its way to one member, through as many attempts as it takes, and then the log that follows it. */
interface Transfer {
  readonly held: HeldSnapshot
  state: 'running' | 'waiting' | 'broken' | 'delivered'
  /** When the last attempt ended. */
  endedAt: number
  /** Where the last attempt began, and how many in a row have begun no later. */
  from: number
  stalled: number
  /** The same, but over all snapshots that it was tried with. */
  failures: number
}

/** After so many attempts that brought nothing, or so long without a new one, a newer snapshot may be the better one. */
const MAX_STALLED = 3
/** After a failed attempt the next one waits, ever longer while nothing comes of them. */
const BACKOFF_MS = 50
const MAX_BACKOFF_MS = 2_000
const KEEP_MS = 60_000

/**
 * Snapshots under way to members. A member that was sent half of one is sent the other half, not a newer one from its
 * beginning: else a state that takes longer to send than connections last would never arrive.
 */
export class Transfers {
  readonly #o: OpenOptions
  readonly #host: TransferHost
  readonly #byMember = new Map<NodeId, Transfer>()

  constructor(o: OpenOptions, host: TransferHost) {
    this.#o = o
    this.#host = host
  }

  /** Entries after these are needed by members next, or they would have to be sent another snapshot at once. */
  needed(): Index[] {
    return [...this.#byMember].map(([to, { held }]) => Math.max(held.meta.index, this.#match(to)))
  }

  /** Forgets those that nobody will go on with, and members that have got past what the log is cut to. */
  tidy(): void {
    if (this.#byMember.size === 0) return
    const { node, env } = this.#host
    const newest = this.#o.store.snapshot()?.index ?? 0
    for (const [to, t] of this.#byMember) {
      if (t.state === 'running' || t.state === 'waiting') continue
      const caughtUp = t.state === 'delivered' && this.#match(to) >= newest
      if (caughtUp || node.role !== 'leader' || env.now() - t.endedAt > KEEP_MS) this.#drop(to)
    }
  }

  #match(to: NodeId): Index {
    return this.#host.node.status().progress.get(to)?.match ?? 0
  }

  /** While an attempt runs or the next one waits, its end is the answer to this one too. */
  send(m: SnapshotMessage): void {
    const state = this.#byMember.get(m.to)?.state
    if (state === 'running' || state === 'waiting') return
    const transfer = this.#find(m)
    if (!transfer) {
      this.#report(m.to, false)
      return
    }
    const { meta } = transfer.held
    transfer.state = 'running'
    this.#o.log?.info('sending a snapshot', { to: m.to, index: meta.index, bytes: meta.bytes })
    const work = this.#o.transport.sendSnapshot({ ...m, meta }, (from) => this.#data(transfer, from))
    work.then(
      () => {
        this.#release(transfer)
        this.#end(m.to, transfer, 'delivered')
      },
      (e: unknown) => {
        this.#o.log?.warn('a snapshot was not delivered', { to: m.to, error: String(e) })
        this.#retryLater(m.to, transfer)
      },
    )
  }

  /** The one under way if the log goes on after it, else the one that the core means. */
  #find(m: SnapshotMessage): Transfer | undefined {
    const { store } = this.#o
    const before = this.#byMember.get(m.to)
    if (before && this.#isUseful(before, m.to)) return before
    if (before) this.#drop(m.to)
    if (store.snapshot()?.index !== m.meta.index) return undefined
    const held = store.holdSnapshot()
    const failures = before?.failures ?? 0
    const transfer: Transfer = { held, state: 'broken', endedAt: 0, from: -1, stalled: 0, failures }
    this.#byMember.set(m.to, transfer)
    return transfer
  }

  #isUseful({ held, state, stalled }: Transfer, to: NodeId): boolean {
    const { index } = held.meta
    if (state === 'delivered' || stalled >= MAX_STALLED) return false
    return index + 1 >= this.#o.store.firstIndex() && this.#match(to) < index
  }

  #retryLater(to: NodeId, transfer: Transfer): void {
    const wait = Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** transfer.failures)
    transfer.state = 'waiting'
    transfer.stalled++
    transfer.failures++
    this.#host.env.after(wait, () => this.#end(to, transfer, 'broken'))
  }

  #end(to: NodeId, transfer: Transfer, state: 'broken' | 'delivered'): void {
    transfer.state = state
    transfer.endedAt = this.#host.env.now()
    this.#report(to, state === 'delivered')
  }

  #report(to: NodeId, ok: boolean): void {
    this.#host.node.reportSnapshot(to, ok)
    this.#host.ended(ok)
  }

  #drop(to: NodeId): void {
    const transfer = this.#byMember.get(to)
    this.#byMember.delete(to)
    if (transfer) this.#release(transfer)
  }

  #release({ held }: Transfer): void {
    held.release().catch((e: unknown) => this.#host.fatal(e))
  }

  /** A snapshot of ours that cannot be read is our failure, not the receiver's. */
  async *#data(transfer: Transfer, from: number): SnapshotSource {
    const { env, bytesPerSecond } = this.#host
    if (from > transfer.from && from > 0) transfer.stalled = transfer.failures = 0
    transfer.from = from
    try {
      yield* paced(transfer.held.read(from), env, bytesPerSecond)
    } catch (e) {
      if (e instanceof StoreError && e.code !== 'closed') this.#host.fatal(e)
      throw e
    }
  }
}

/** The same bytes, no faster than so many in a second. */
export async function* paced(data: SnapshotSource, env: Env, bytesPerSecond: number): SnapshotSource {
  const start = env.now()
  let sent = 0
  for await (const piece of data) {
    yield piece
    sent += piece.length
    const early = (sent / bytesPerSecond) * 1000 - (env.now() - start)
    if (early > 0) await new Promise<void>((resolve) => env.after(early, resolve))
  }
}
