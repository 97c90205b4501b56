export interface Measured {
  readonly count: number
  readonly errors: number
  readonly firstError?: string
  readonly seconds: number
  readonly perSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** Collects how long each of many requests took, between `begin` and `end`. */
export class Meter {
  #times: number[] = []
  #errors = 0
  #firstError: string | undefined
  #from: number | undefined
  #to: number | undefined

  get count(): number {
    return this.#times.length
  }

  begin(): void {
    this.#from = performance.now()
  }
  end(): void {
    this.#to ??= performance.now()
  }

  add(ms: number, error?: string): void {
    if (error !== undefined) {
      this.#errors++
      this.#firstError ??= error
    } else if (this.#from !== undefined && this.#to === undefined) this.#times.push(ms)
  }

  result(): Measured {
    const times = Float64Array.from(this.#times).sort()
    const at = (q: number) => times[Math.min(times.length - 1, Math.floor(times.length * q))] ?? 0
    const seconds = ((this.#to ?? performance.now()) - (this.#from ?? 0)) / 1000
    return {
      count: times.length,
      errors: this.#errors,
      ...(this.#firstError !== undefined && { firstError: this.#firstError }),
      seconds,
      perSecond: times.length / seconds,
      p50: at(0.5),
      p99: at(0.99),
      max: times.at(-1) ?? 0,
    }
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[at] as number) : ((sorted[at - 1] ?? 0) + (sorted[at] ?? 0)) / 2
}
