import { decodeConfChange } from './codec.ts'
import { isJoint } from './confchange.ts'
import type { ConfWaiters } from './conf-waiters.ts'
import type { Member } from './member.ts'
import type { Ready } from './node.ts'
import type { Proposals } from './proposals.ts'
import type { Reads } from './reads.ts'
import type { SessionRow, Sessions } from './sessions.ts'
import { restoreFrom, type Snapshots } from './snapshots.ts'
import { assertInvariant, type Entry, type HardState, type Index } from './types.ts'

/** Flushed at once after so many entries; fewer wait for the next tick, so that a lone write costs no second one. */
const FLUSH_ENTRIES = 2048

/** Who waits for something to be applied. */
export interface Waiting {
  readonly proposals: Proposals
  readonly reads: Reads
  readonly confWaiters: ConfWaiters
}

/** Runs committed entries through sessions and state machine, and lets the state machine's storage follow. */
export class Applier {
  readonly #m: Member
  readonly #waiting: Waiting
  readonly #snapshots: Snapshots
  #sessions: Sessions
  #flushing: Promise<void> | undefined
  #flushed: Index

  constructor(m: Member, waiting: Waiting, snapshots: Snapshots, at: { sessions: Sessions; applied: Index }) {
    this.#m = m
    this.#waiting = waiting
    this.#snapshots = snapshots
    this.#sessions = at.sessions
    this.#flushed = at.applied
  }

  /** What the state machine's storage holds. */
  get flushed(): Index {
    return this.#flushed
  }
  get sessions(): number {
    return this.#sessions.size
  }

  rows(): readonly SessionRow[] {
    return this.#sessions.rows()
  }

  /** True when the members changed. */
  apply(entries: readonly Entry[]): boolean {
    const last = entries.at(-1)
    if (!last) return false
    const { node, metrics } = this.#m
    let confChanged = false
    for (const e of entries) {
      if (e.kind === 'config') confChanged = this.#applyConfig(e) || confChanged
      else if (e.data.length > 0) this.#applyCommand(e)
      this.#waiting.confWaiters.onEntry(e, node.conf, isJoint(node.conf))
    }
    metrics.applied += entries.length
    node.applied(last.index)
    this.#waiting.reads.onApplied(last.index)
    if (node.appliedIndex - this.#flushed >= FLUSH_ENTRIES) this.flush()
    return confChanged
  }

  #applyConfig(e: Entry): boolean {
    const { node, o } = this.#m
    const before = node.conf
    const after = node.applyConf(decodeConfChange(e.data))
    if (before !== after) o.log?.info('members changed', { index: e.index, conf: after })
    return before !== after
  }

  #applyCommand(e: Entry): void {
    const { stateMachine } = this.#m.o
    const outcome = this.#sessions.apply(e, (data) =>
      stateMachine.apply({ index: e.index, term: e.term, data }),
    )
    this.#waiting.proposals.onOutcome(outcome)
  }

  /** One flush at a time; what is applied meanwhile shares the next one. */
  flush(): void {
    if (this.#flushing || this.#m.stopped || this.#flushed === this.#m.node.appliedIndex) return
    const run = this.#flushOnce(false)
    this.#flushing = run.then(
      () => {
        this.#flushing = undefined
      },
      (e: unknown) => {
        this.#flushing = undefined
        this.#m.fatal(e)
      },
    )
  }

  async #flushOnce(sync: boolean): Promise<void> {
    const applied = this.#m.node.appliedIndex
    await this.#m.o.stateMachine.flush(applied, this.#sessions.takeDirty(), sync)
    this.#flushed = applied
    this.#m.metrics.flushes++
  }

  /** Everything applied so far is in the state machine's storage; with sync, for good. */
  async flushAll(sync: boolean): Promise<void> {
    while (this.#flushing) await this.#flushing
    if (this.#m.failed) throw this.#m.failed
    const run = this.#flushOnce(sync)
    this.#flushing = run.finally(() => (this.#flushing = undefined))
    await this.#flushing
  }

  /** Log first, then state: a crash in between is repaired at open from the stored snapshot. */
  async install(ready: Ready, hard: HardState | undefined): Promise<void> {
    const { env, metrics, node, o } = this.#m
    const { store, stateMachine } = o
    const meta = ready.snapshot
    assertInvariant(meta !== undefined, 'no snapshot to install')
    await this.#snapshots.idle()
    while (this.#flushing) await this.#flushing
    await store.installSnapshot(meta, hard && { ...hard, commit: meta.index })
    this.#sessions = await restoreFrom(store.openSnapshot(), meta.index, stateMachine)
    this.#flushed = meta.index
    metrics.snapshotsInstalled++
    o.log?.info('snapshot installed', { index: meta.index, bytes: meta.bytes })
    if (ready.entries.length > 0) await store.append(ready.entries, hard, true)
    if (this.#m.stopped) return
    this.#waiting.proposals.onRestored(this.#sessions)
    this.#waiting.confWaiters.onRestored(meta.index)
    env.defer(() => this.#m.guard(() => this.#waiting.reads.onApplied(node.appliedIndex)))
    this.#m.notify()
  }
}
