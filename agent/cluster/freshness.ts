/**
 * How old this agent's copy of the state may be: the time since a read that a leader confirmed. Everything
 * acknowledged before that read was asked for is in the copy.
 */
export class Freshness {
  readonly #clock: () => number
  readonly #applied: () => number
  #asOf: number | undefined
  /** What a leader told and is not applied here yet. */
  #told: { readonly asOf: number; readonly index: number } | undefined

  /** `clock`: milliseconds that never jump. `applied`: the last entry in the copy. */
  constructor(clock: () => number, applied: () => number) {
    this.#clock = clock
    this.#applied = applied
  }

  /** A leader that a majority confirmed so long ago, ms, had applied this entry then. */
  told(ageMs: number, index: number): void {
    this.#settle()
    this.#told = { asOf: this.#clock() - ageMs, index }
  }

  /** Run a confirmed read; when it succeeds, the copy is as new as the moment it was asked for. */
  async confirm(read: () => Promise<unknown>): Promise<void> {
    const asked = this.#clock()
    await read()
    this.#asOf = Math.max(this.#asOf ?? asked, asked)
  }

  /** Milliseconds; null when no leader confirmed anything since this agent started. */
  age(): number | null {
    this.#settle()
    return this.#asOf === undefined ? null : this.#clock() - this.#asOf
  }

  #settle(): void {
    if (!this.#told || this.#told.index > this.#applied()) return
    this.#asOf = Math.max(this.#asOf ?? this.#told.asOf, this.#told.asOf)
    this.#told = undefined
  }
}

/** Confirms again and again, so that the age stays small as long as there is a leader. */
export function keepFresh(confirm: () => Promise<void>, everyMs = 1_000): { stop(): void } {
  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    // Without a leader the age grows: that is the answer.
    void confirm()
      .catch(() => undefined)
      .finally(() => (busy = false))
  }, everyMs)
  return { stop: () => clearInterval(timer) }
}
