import { assertInvariant, type Index } from './types.ts'

export type ProgressState = 'probe' | 'replicate' | 'snapshot'

/** Appends under way to one follower, bounded by count and bytes. */
export class Inflights {
  readonly #maxCount: number
  readonly #maxBytes: number
  #items: { index: Index; bytes: number }[] = []
  #bytes = 0

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount
    this.#maxBytes = maxBytes
  }

  get count(): number {
    return this.#items.length
  }

  get full(): boolean {
    return this.#items.length >= this.#maxCount || this.#bytes >= this.#maxBytes
  }

  add(index: Index, bytes: number): void {
    assertInvariant(!this.full, 'append sent although the inflight window is full')
    this.#items.push({ index, bytes })
    this.#bytes += bytes
  }

  /** Forgets every append whose last index is at most `index`. */
  freeTo(index: Index): void {
    let n = 0
    for (const item of this.#items) {
      if (item.index > index) break
      this.#bytes -= item.bytes
      n++
    }
    if (n > 0) this.#items.splice(0, n)
  }

  reset(): void {
    this.#items = []
    this.#bytes = 0
  }
}

/**
 * The leader's view of one member. Three states:
 * `probe` – the match point is unknown, one append at a time;
 * `replicate` – appends are pipelined, `next` runs ahead of acknowledgements;
 * `snapshot` – the log needed is gone, nothing is sent until the snapshot's fate is known.
 */
export class Progress {
  /** Known to be stored by the member. Never decreases within a term. */
  match: Index = 0
  /** Next index to send. Invariant: match < next. */
  next: Index
  state: ProgressState = 'probe'
  /** Index of the snapshot under way; meaningful in `snapshot` only. */
  pendingSnapshot: Index = 0
  /** Heard from since the last quorum check. */
  recentActive = false
  /** Heard from between the two last quorum checks. */
  activeBefore = false
  /** Probe: one append is out. Replicate: the window was full at the last send. Cleared by any answer. */
  paused = false
  isLearner: boolean
  readonly inflights: Inflights
  /** The highest commit index told to the member, as far as it could use it. */
  #sentCommit: Index = 0

  constructor(next: Index, isLearner: boolean, inflights: Inflights) {
    this.next = Math.max(next, 1)
    this.isLearner = isLearner
    this.inflights = inflights
  }

  get blocked(): boolean {
    return this.state === 'snapshot' || this.paused
  }

  becomeProbe(): void {
    // After a delivered snapshot the member has everything up to it, although match does not say so yet.
    const from = this.state === 'snapshot' ? Math.max(this.match, this.pendingSnapshot) : this.match
    this.#reset('probe')
    this.next = from + 1
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1)
  }

  becomeReplicate(): void {
    this.#reset('replicate')
    this.next = this.match + 1
  }

  becomeSnapshot(index: Index): void {
    this.#reset('snapshot')
    this.pendingSnapshot = index
    this.next = index + 1
    this.#sentCommit = index
  }

  /** The snapshot did not arrive: probe from where the member was, after the next heartbeat. */
  snapshotFailed(): void {
    this.pendingSnapshot = 0
    this.becomeProbe()
    this.paused = true
  }

  /** Delivered; the member's own answer, or a heartbeat's, resumes the flow. */
  snapshotDelivered(): void {
    this.becomeProbe()
    this.paused = true
  }

  /** Appends may have been lost: stop guessing and probe. */
  unreachable(): void {
    if (this.state === 'replicate') this.becomeProbe()
  }

  sentAppend(entries: number, bytes: number, commit: Index): void {
    assertInvariant(this.state !== 'snapshot', 'append sent while a snapshot is under way')
    if (this.state === 'replicate') {
      if (entries > 0) {
        this.next += entries
        this.inflights.add(this.next - 1, bytes)
      }
      this.paused = this.inflights.full
    } else if (entries > 0) {
      this.paused = true
    }
    this.#sentCommit = commit
  }

  sentHeartbeat(commit: Index): void {
    this.#sentCommit = commit
  }

  /** Whether an append carrying this commit index would teach the member anything. */
  canBumpCommit(commit: Index): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1
  }

  /** The member stores everything up to `index`. False for stale answers. */
  acked(index: Index): boolean {
    if (index <= this.match) return false
    this.match = index
    this.next = Math.max(this.next, index + 1)
    this.paused = false
    return true
  }

  /** The member rejected an append after `rejected` and may match at `hint`. False for stale answers. */
  rejected(rejected: Index, hint: Index): boolean {
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false
      this.becomeProbe()
      return true
    }
    // A probe's answer must be about the probe that is out.
    if (this.next - 1 !== rejected) return false
    this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1)
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1)
    this.paused = false
    return true
  }

  #reset(state: ProgressState): void {
    this.paused = false
    this.pendingSnapshot = 0
    this.state = state
    this.inflights.reset()
  }
}
