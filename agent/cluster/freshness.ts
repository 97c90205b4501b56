/**
 * How old this agent's copy of the state may be: the time since a read that a leader confirmed. Everything
 * acknowledged before that read was asked for is in the copy.
 */
export class Freshness {
  readonly #clock: () => number
  #asOf: number | undefined

  /** Milliseconds on a clock that never jumps. */
  constructor(clock: () => number) {
    this.#clock = clock
  }

  /** Run a confirmed read; when it succeeds, the copy is as new as the moment it was asked for. */
  async confirm(read: () => Promise<unknown>): Promise<void> {
    const asked = this.#clock()
    await read()
    this.#asOf = Math.max(this.#asOf ?? asked, asked)
  }

  /** Milliseconds; null when no leader confirmed anything since this agent started. */
  age(): number | null {
    return this.#asOf === undefined ? null : this.#clock() - this.#asOf
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
