import {
  assertInvariant,
  entryBytes,
  limitBytes,
  type Entry,
  type Index,
  type LogView,
  type SnapshotMeta,
  type Term,
} from './types.ts'

/**
 * What the core has accepted and storage does not have yet: a snapshot to install, then entries from `offset` on.
 * Entries below `inProgress` have been handed out for writing. Storage may still hold conflicting entries at or above
 * `offset`; the ones here win.
 */
class Unstable {
  snapshot: SnapshotMeta | undefined
  snapshotInProgress = false
  entries: Entry[] = []
  offset: Index
  inProgress: Index

  constructor(offset: Index) {
    this.offset = offset
    this.inProgress = offset
  }

  get end(): Index {
    return this.offset + this.entries.length
  }

  term(i: Index): Term | undefined {
    if (i < this.offset) return this.snapshot?.index === i ? this.snapshot.term : undefined
    return this.entries[i - this.offset]?.term
  }

  next(): readonly Entry[] {
    return this.entries.slice(this.inProgress - this.offset)
  }

  accept(): void {
    this.inProgress = this.end
    if (this.snapshot) this.snapshotInProgress = true
  }

  /** Only what still is what was written leaves: the entries may have been replaced meanwhile. */
  stableTo(index: Index, term: Term): void {
    if (index < this.offset || this.term(index) !== term) return
    this.entries = this.entries.slice(index + 1 - this.offset)
    this.offset = index + 1
    this.inProgress = Math.max(this.inProgress, this.offset)
  }

  restore(meta: SnapshotMeta): void {
    this.snapshot = meta
    this.snapshotInProgress = false
    this.entries = []
    this.offset = meta.index + 1
    this.inProgress = this.offset
  }

  append(entries: readonly Entry[]): void {
    const from = (entries[0] as Entry).index
    if (from <= this.offset) {
      this.entries = [...entries]
      this.offset = from
      this.inProgress = from
    } else {
      assertInvariant(from <= this.end, 'append leaves a gap in the unstable log')
      if (from < this.end) this.entries = this.entries.slice(0, from - this.offset)
      for (const e of entries) this.entries.push(e)
      this.inProgress = Math.min(this.inProgress, from)
    }
  }
}

/**
 * The log as the core sees it: storage with the unstable tail on top.
 * Invariants: applied ≤ applying ≤ committed ≤ lastIndex; applying never passes what is durable here.
 */
export class RaftLog {
  committed: Index
  /** Handed out for applying. */
  applying: Index
  applied: Index
  readonly #view: LogView
  readonly #unstable: Unstable
  readonly #maxApplyingBytes: number
  #applyingBytes = 0
  /** What is out reached the budget, or the next entry would pass it: wait for a report. */
  #applyingPaused = false

  constructor(view: LogView, maxApplyingBytes: number) {
    this.#view = view
    this.#maxApplyingBytes = maxApplyingBytes
    this.#unstable = new Unstable(view.lastIndex() + 1)
    this.committed = this.applying = this.applied = view.firstIndex() - 1
  }

  get firstIndex(): Index {
    const s = this.#unstable.snapshot
    return s ? s.index + 1 : this.#view.firstIndex()
  }

  get lastIndex(): Index {
    return this.#unstable.end - 1
  }

  get lastTerm(): Term {
    const t = this.term(this.lastIndex)
    assertInvariant(t !== undefined, 'the term of the last entry is unknown')
    return t
  }

  /** Undefined when compacted or beyond the end. */
  term(i: Index): Term | undefined {
    const t = this.#unstable.term(i)
    if (t !== undefined) return t
    if (i < this.firstIndex - 1 || i >= this.#unstable.offset) return undefined
    return this.#view.term(i)
  }

  matches(index: Index, term: Term): boolean {
    return this.term(index) === term
  }

  /** Last term first, then length (thesis 3.6.1). */
  isUpToDate(lastIndex: Index, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  append(entries: readonly Entry[]): void {
    const first = entries[0]
    if (!first) return
    assertInvariant(
      first.index > this.committed,
      () => `entry ${first.index} would replace a committed entry`,
    )
    this.#unstable.append(entries)
  }

  /** Follower's append: undefined when the logs do not match at prev, else the last index known to match. */
  maybeAppend(prevIndex: Index, prevTerm: Term, entries: readonly Entry[], commit: Index): Index | undefined {
    if (!this.matches(prevIndex, prevTerm)) return undefined
    // Truncate at the first conflict only: a reordered older append must not cut off entries it does not know of.
    const conflict = entries.findIndex((e) => !this.matches(e.index, e.term))
    if (conflict >= 0) this.append(conflict === 0 ? entries : entries.slice(conflict))
    const last = prevIndex + entries.length
    this.commitTo(Math.min(commit, last))
    return last
  }

  /**
   * The largest index ≤ `index` whose term is ≤ `term`: everything between cannot match a log that has `term` at
   * `index`, because terms only grow along a log. Skips whole terms, so a long conflicting tail costs few probes.
   */
  findConflict(index: Index, term: Term): { index: Index; term: Term } {
    for (let i = index; i > 0; i--) {
      const t = this.term(i)
      if (t === undefined) return { index: i, term: 0 }
      if (t <= term) return { index: i, term: t }
    }
    return { index: 0, term: 0 }
  }

  commitTo(index: Index): void {
    if (index <= this.committed) return
    assertInvariant(
      index <= this.lastIndex,
      () => `commit ${index} is beyond the last entry ${this.lastIndex}: the log was truncated or lost`,
    )
    this.committed = index
  }

  /** Only an entry of the leader's own term commits by counting (thesis 3.6.2, figure 3.7). */
  maybeCommit(index: Index, term: Term): boolean {
    if (index <= this.committed || !this.matches(index, term)) return false
    this.commitTo(index)
    return true
  }

  /** Entries from `lo`; undefined when compacted. */
  entries(lo: Index, maxBytes: number): readonly Entry[] | undefined {
    if (lo > this.lastIndex) return []
    if (lo < this.firstIndex) return undefined
    return this.slice(lo, this.lastIndex + 1, maxBytes)
  }

  slice(lo: Index, hi: Index, maxBytes: number): readonly Entry[] {
    assertInvariant(
      lo >= this.firstIndex && lo < hi && hi <= this.lastIndex + 1,
      () => `slice [${lo}, ${hi}) outside of the log [${this.firstIndex}, ${this.lastIndex}]`,
    )
    const u = this.#unstable
    if (lo >= u.offset) return limitBytes(u.entries.slice(lo - u.offset, hi - u.offset), maxBytes)
    const cut = Math.min(hi, u.offset)
    const stable = this.#view.entries(lo, cut, maxBytes)
    assertInvariant(stable.length > 0 && stable[0]?.index === lo, () => `storage has no entry ${lo}`)
    if (hi <= u.offset || stable.length < cut - lo) return stable
    return limitBytes([...stable, ...u.entries.slice(0, hi - u.offset)], maxBytes)
  }

  get hasPendingSnapshot(): boolean {
    return this.#unstable.snapshot !== undefined
  }

  snapshot(): SnapshotMeta | undefined {
    return this.#unstable.snapshot ?? this.#view.snapshot()
  }

  restore(meta: SnapshotMeta): void {
    this.committed = meta.index
    this.#unstable.restore(meta)
  }

  /** The next thing to write; `accept` it when it is handed out. */
  nextUnstable(): { entries: readonly Entry[]; snapshot: SnapshotMeta | undefined } {
    const u = this.#unstable
    return { entries: u.next(), snapshot: u.snapshotInProgress ? undefined : u.snapshot }
  }

  get hasNextUnstable(): boolean {
    const u = this.#unstable
    return u.inProgress < u.end || (u.snapshot !== undefined && !u.snapshotInProgress)
  }

  acceptUnstable(): void {
    this.#unstable.accept()
  }

  stableTo(index: Index, term: Term): void {
    this.#unstable.stableTo(index, term)
  }

  stableSnapshot(index: Index): void {
    if (this.#unstable.snapshot?.index !== index) return
    this.#unstable.snapshot = undefined
    this.#unstable.snapshotInProgress = false
  }

  /**
   * Committed entries that may be applied: durable here (else the state machine could get ahead of its own log) and
   * within the byte budget of entries handed out and not yet reported applied.
   */
  nextCommitted(): readonly Entry[] {
    if (!this.hasNextCommitted) return []
    return this.slice(
      this.applying + 1,
      this.#appliableEnd,
      Math.max(1, this.#maxApplyingBytes - this.#applyingBytes),
    )
  }

  get hasNextCommitted(): boolean {
    return !this.hasPendingSnapshot && this.applying + 1 < this.#appliableEnd && !this.#applyingPaused
  }

  get #appliableEnd(): Index {
    return Math.min(this.committed + 1, this.#unstable.offset)
  }

  acceptApplying(entries: readonly Entry[]): void {
    for (const e of entries) this.#applyingBytes += entryBytes(e)
    this.applying += entries.length
    this.#applyingPaused =
      this.#applyingBytes >= this.#maxApplyingBytes || this.applying + 1 < this.#appliableEnd
    assertInvariant(this.applying <= this.committed, 'uncommitted entries handed out for applying')
  }

  /** Returns the entries that became applied, for the caller's accounting. */
  appliedTo(index: Index): readonly Entry[] {
    assertInvariant(
      index >= this.applied && index <= this.committed,
      () => `applied ${index} is outside of [${this.applied}, ${this.committed}]`,
    )
    const done =
      index > this.applied && index <= this.applying && this.applied + 1 >= this.firstIndex
        ? this.slice(this.applied + 1, index + 1, Infinity)
        : []
    for (const e of done) this.#applyingBytes -= entryBytes(e)
    this.applied = index
    this.applying = Math.max(this.applying, index)
    if (this.applied === this.applying) this.#applyingBytes = 0
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes
    return done
  }

  /** Whether committed entries that are not applied yet change the configuration. */
  hasUnappliedConfig(): boolean {
    for (let lo = Math.max(this.applied + 1, this.firstIndex); lo <= this.committed;) {
      const page = this.slice(lo, this.committed + 1, this.#maxApplyingBytes)
      if (page.some((e) => e.kind === 'config')) return true
      lo += page.length
    }
    return false
  }
}
