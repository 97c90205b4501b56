import { Clock } from './clock.ts'
import { Rng } from '../../raft/testing/rng.ts'

const streams = ['setup', 'network', 'disk', 'workload', 'nemesis', 'operator', 'core'] as const
type Stream = (typeof streams)[number]

/** What everything in one simulation shares: its time, its chance, what was counted, and what went wrong first. */
export class World {
  readonly seed: number
  readonly clock = new Clock()
  readonly rng: Readonly<Record<Stream, Rng>>
  readonly counts = new Map<string, number>()
  readonly #trace: ((line: string) => void) | undefined
  violation: string | undefined

  constructor(seed: number, trace?: (line: string) => void) {
    this.seed = seed
    this.#trace = trace
    this.rng = Object.fromEntries(streams.map((name, i) => [name, new Rng(seed, i)])) as Record<Stream, Rng>
  }

  get now(): number {
    return this.clock.now
  }

  count(what: string, n = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + n)
  }

  trace(line: () => string): void {
    this.#trace?.(`${this.now.toFixed(2)} ${line()}`)
  }

  /** The first one is the cause; the run stops at it. */
  fail(violation: string): void {
    if (this.violation !== undefined) return
    this.violation = `at ${this.now.toFixed(1)} ms: ${violation}`
    this.trace(() => `VIOLATION ${violation}`)
  }

  check(condition: boolean, what: () => string): void {
    if (!condition) this.fail(what())
  }
}
