import { assertInvariant, entryBytes, limitBytes, type Entry, type Index, type Term } from './types.ts'

/** The retained log in memory: compaction bounds it, so answering from memory is affordable and keeps the core synchronous. */
export class LogTail {
  /** The entry before the first one: its term is still known. */
  #baseIndex: Index
  #baseTerm: Term
  #entries: Entry[]
  /** sizes[i]: bytes of all entries ever appended before entries[i]. */
  #sizes: number[] = []
  #total = 0

  constructor(baseIndex: Index, baseTerm: Term, entries: readonly Entry[] = []) {
    this.#baseIndex = baseIndex
    this.#baseTerm = baseTerm
    this.#entries = []
    this.append(entries)
  }

  get firstIndex(): Index {
    return this.#baseIndex + 1
  }
  get lastIndex(): Index {
    return this.#baseIndex + this.#entries.length
  }
  get lastTerm(): Term {
    return this.#entries.at(-1)?.term ?? this.#baseTerm
  }

  term(index: Index): Term | undefined {
    if (index === this.#baseIndex) return this.#baseTerm
    return this.#entries[index - this.firstIndex]?.term
  }

  slice(lo: Index, hi: Index, maxBytes: number): readonly Entry[] {
    assertInvariant(
      lo >= this.firstIndex && lo <= hi && hi <= this.lastIndex + 1,
      () => `[${lo}, ${hi}) is outside of the stored log [${this.firstIndex}, ${this.lastIndex}]`,
    )
    return limitBytes(this.#entries.slice(lo - this.firstIndex, hi - this.firstIndex), maxBytes)
  }

  append(entries: readonly Entry[]): void {
    const first = entries[0]
    if (!first) return
    const keep = first.index - this.firstIndex
    assertInvariant(
      keep >= 0 && keep <= this.#entries.length,
      () => `entry ${first.index} leaves a gap in the log`,
    )
    if (keep < this.#entries.length) {
      this.#total = this.#sizes[keep] as number
      this.#entries.length = keep
      this.#sizes.length = keep
    }
    for (const e of entries) {
      assertInvariant(e.index === this.lastIndex + 1 && e.term >= this.lastTerm, 'entries out of order')
      this.#entries.push(e)
      this.#sizes.push(this.#total)
      this.#total += entryBytes(e)
    }
  }

  compact(to: Index): void {
    const term = this.term(to)
    assertInvariant(term !== undefined, () => `cannot compact to ${to}`)
    const drop = to - this.#baseIndex
    this.#entries = this.#entries.slice(drop)
    this.#sizes = this.#sizes.slice(drop)
    this.#baseIndex = to
    this.#baseTerm = term
  }

  bytesAfter(index: Index): number {
    if (index >= this.lastIndex) return 0
    return this.#total - (this.#sizes[Math.max(0, index - this.#baseIndex)] as number)
  }
}
