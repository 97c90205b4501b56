import type { LogResume } from '../runtime.ts'
import { nanoseconds } from './time.ts'

interface Mark {
  /** null: the log's beginning. */
  readonly since: bigint | null
  readonly text: string | null
  /** Kept records at or after it. */
  count: number
}

/**
 * Knows where a log is resumed, from the times of the records kept so far, in flat memory.
 *
 * A resumed log is read again from a mark a good many records back, so that records which stand out of the order of
 * their times are neither lost nor told twice; how many of them are kept already is counted from the mark on. Two
 * marks are enough: when the younger has seen `window` records it becomes the elder.
 */
export class LogCursor {
  readonly #window: number
  #elder: Mark
  #younger: Mark | undefined
  #newest = { at: 0n, text: '' }
  #kept = 0

  private constructor(elder: Mark, window: number) {
    this.#elder = elder
    this.#window = window
  }

  /** Nothing is kept yet. */
  static fresh(window = 10_000): LogCursor {
    return new LogCursor({ since: null, text: null, count: 0 }, window)
  }

  /** On after an earlier cursor's `resume`. */
  static resumed(from: LogResume | null, window = 10_000): LogCursor {
    if (!from) return LogCursor.fresh(window)
    const since = from.since === null ? null : nanoseconds(from.since)
    const cursor = new LogCursor({ since, text: from.since, count: from.skip }, window)
    cursor.#newest = { at: nanoseconds(from.until), text: from.until }
    cursor.#kept = from.skip
    return cursor
  }

  /** From the last kept records' times, oldest first; `whole` when these are all there are. */
  static after(times: readonly string[], whole: boolean, window = 10_000): LogCursor {
    const at = times.map(nanoseconds)
    const cursor = whole ? LogCursor.fresh(window) : LogCursor.#inTail(times, at, window)
    for (const [i, text] of times.entries()) cursor.#keep(at[i] ?? 0n, text)
    return cursor
  }

  /** The mark is the earliest time in the tail's second half: what stands before the tail is earlier than that. */
  static #inTail(times: readonly string[], at: readonly bigint[], window: number): LogCursor {
    let first = Math.floor(times.length / 2)
    for (let i = first; i < at.length; i++) if ((at[i] ?? 0n) < (at[first] ?? 0n)) first = i
    return new LogCursor({ since: at[first] ?? null, text: times[first] ?? null, count: 0 }, window)
  }

  keep(time: string): void {
    this.#keep(nanoseconds(time), time)
  }

  #keep(at: bigint, text: string): void {
    this.#kept++
    if (this.#younger && this.#younger.count >= this.#window && at > this.#newest.at) {
      this.#elder = this.#younger
      this.#younger = undefined
    }
    // Only a time above all before it can be a mark: nothing kept earlier counts from there.
    if (!this.#younger && at > this.#newest.at) this.#younger = { since: at, text, count: 0 }
    for (const mark of [this.#elder, this.#younger])
      if (mark && (mark.since === null || at >= mark.since)) mark.count++
    if (at > this.#newest.at) this.#newest = { at, text }
  }

  /** null when nothing is kept: read from the beginning. */
  resume(): LogResume | null {
    if (this.#kept === 0) return null
    return { since: this.#elder.text, skip: this.#elder.count, until: this.#newest.text }
  }
}

/** Drops the records a resumed log tells again: feed it every record from `since` on. */
export function skipKept(resume: LogResume | null): (time: string) => boolean {
  const since = resume?.since ? nanoseconds(resume.since) : null
  const until = resume ? nanoseconds(resume.until) : 0n
  let skip = resume?.skip ?? 0
  return (time) => {
    if (!resume) return true
    const at = nanoseconds(time)
    if (since !== null && at < since) return false
    if (skip === 0) return true
    // Later than all that is kept: the engine has thrown the older ones away meanwhile.
    if (at > until) {
      skip = 0
      return true
    }
    skip--
    return false
  }
}
