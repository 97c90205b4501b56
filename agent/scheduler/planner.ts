import { type Actor, ProblemError } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { PlannerMeter } from '../monitoring/monitor.ts'
import { plan } from './plan.ts'

const system: Actor = { kind: 'system' }

/** Later events are coalesced for this long, ms; the first one plans at once. */
const coalesceMs = 50
/** A full pass even when no event came, ms: a missed wake-up must not keep a task waiting for ever. */
const fullPassMs = 5_000

interface Log {
  warn(fields: object, message: string): void
}

/** Runs the pure planner on the leader whenever something changed, and proposes what it finds. */
export class Planner {
  readonly #cluster: Cluster
  readonly #log: Log
  readonly #meter: PlannerMeter | undefined
  #stopped = false
  #running = false
  #dirty = false
  #timer: NodeJS.Timeout | undefined
  readonly #unsubscribe: (() => void)[]

  constructor(cluster: Cluster, log: Log, meter?: PlannerMeter) {
    this.#cluster = cluster
    this.#log = log
    this.#meter = meter
    const wake = () => this.#wake()
    this.#unsubscribe = [cluster.onApplied(wake), cluster.onStatus(wake), cluster.peers.onLiveness(wake)]
    const pass = setInterval(wake, fullPassMs)
    this.#unsubscribe.push(() => clearInterval(pass))
    wake()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
  }

  #wake(): void {
    this.#dirty = true
    if (this.#running || this.#timer || this.#stopped) return
    this.#running = true
    queueMicrotask(() => void this.#pass())
  }

  async #pass(): Promise<void> {
    this.#dirty = false
    try {
      if (this.#cluster.status().isLeader) await this.#planOnce()
    } catch (error) {
      // A lost leadership or a refused placement: the next pass starts from the newest state.
      if (error instanceof ProblemError) this.#meter?.refused(error.code)
      this.#log.warn({ err: error }, 'planning pass was refused')
    }
    this.#running = false
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#dirty) this.#wake()
    }, coalesceMs)
  }

  async #planOnce(): Promise<void> {
    const started = performance.now()
    const live = this.#cluster.peers.liveness()
    const { place, wait } = plan(this.#cluster.state(), {
      liveness: (node) => live.get(node)?.liveness ?? 'unknown',
      diskLow: (node) => live.get(node)?.usage?.disk_low ?? false,
    })
    this.#meter?.pass((performance.now() - started) / 1000)
    for (const { experiment, placements } of place) {
      await this.#cluster.propose({ type: 'workload.place', id: experiment, placements }, system)
      this.#meter?.placed(placements.length)
    }
    const state = this.#cluster.state()
    for (const { experiment, reason } of wait)
      if (state.experiments.get(experiment)?.reason?.message !== reason.message)
        await this.#cluster.propose({ type: 'workload.wait', id: experiment, reason }, system)
  }
}
