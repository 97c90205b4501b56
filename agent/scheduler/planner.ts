import { type Actor, ProblemError, type Reason } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Applied, Command } from '../cluster/commands.ts'
import type { State } from '../cluster/state.ts'
import type { PlannerMeter } from '../monitoring/monitor.ts'
import { ClusterIndex } from './cluster-index.ts'
import { type Plan, planSteps } from './plan.ts'
import { inSlices } from './slices.ts'
import type { Surroundings } from './surroundings.ts'

const system: Actor = { kind: 'system' }

/** Later events are coalesced for this long, ms; the first one plans at once. */
const coalesceMs = 50
/** A full pass even when no event came, ms: a missed wake-up must not keep a task waiting for ever. */
const fullPassMs = 5_000
/** How often figures in the sentences that say why something waits are made anew, ms, and how many at once. */
const textsMs = 30_000
const mostTexts = 50
/** Where a cause changes for thousands, so many are told at once: what was told wakes the next pass. */
const mostFresh = 500
/** Commands on their way to the log at once. */
const mostInFlight = 64
/** More shapes of tasks than this, most of them gone long ago, are forgotten with the index. */
const mostShapes = 5_000

interface Log {
  warn(fields: object, message: string): void
}

export interface PlannerParts {
  readonly cluster: Cluster
  readonly surroundings: () => Surroundings
  readonly log: Log
  readonly meter?: PlannerMeter
}

/** Runs the pure planner on the leader whenever something changed, and proposes what it finds. */
export class Planner {
  readonly #cluster: Cluster
  readonly #surroundings: () => Surroundings
  readonly #log: Log
  readonly #meter: PlannerMeter | undefined
  readonly #unsubscribe: (() => void)[]
  #stopped = false
  #running = false
  #dirty = false
  #timer: NodeJS.Timeout | undefined
  /** Made when this agent begins to lead; entries that were applied since wait in `#changes`. */
  #index: ClusterIndex | undefined
  #changes: Applied[] = []
  #nextTexts = 0

  constructor({ cluster, surroundings, log, meter }: PlannerParts) {
    this.#cluster = cluster
    this.#surroundings = surroundings
    this.#log = log
    this.#meter = meter
    const wake = () => this.#wake()
    const follow = (applied: Applied) => {
      if (this.#index) this.#changes.push(applied)
      this.#wake()
    }
    this.#unsubscribe = [cluster.onApplied(follow), cluster.onStatus(wake), cluster.peers.onLiveness(wake)]
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
      else this.#forget()
    } catch (error) {
      // Whatever was half done on the index is not to be trusted: the next pass makes it anew.
      this.#forget()
      this.#log.warn({ err: error }, 'planning pass failed')
    }
    this.#running = false
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#dirty) this.#wake()
    }, coalesceMs)
  }

  #forget(): void {
    this.#index = undefined
    this.#changes = []
  }

  async #planOnce(): Promise<void> {
    const { index, state } = await this.#upToDate()
    const surroundings = this.#surroundings()
    const tell = surroundings.now >= this.#nextTexts ? 'all' : 'cause'
    if (tell === 'all') this.#nextTexts = surroundings.now + textsMs
    const begun = performance.now()
    const found = await inSlices(planSteps(index, state, surroundings, { tell }))
    this.#meter?.pass((performance.now() - begun) / 1000)
    if (!this.#stopped) await this.#propose(found, state)
  }

  /** The index of the newest state. While it is being made or read, changes wait. */
  async #upToDate(): Promise<{ index: ClusterIndex; state: State }> {
    const tooOld = this.#changes.some(({ restored }) => restored)
    if (this.#index && !tooOld && this.#index.shapes.size <= mostShapes) {
      const state = this.#cluster.state()
      this.#index.update(state, this.#changes)
      this.#changes = []
      return { index: this.#index, state }
    }
    this.#forget()
    // Only rows of one state belong together; what changes from here on is added next time.
    const state = this.#cluster.state()
    const applied: Applied[] = []
    const unsubscribe = this.#cluster.onApplied((entry) => applied.push(entry))
    try {
      const index = await inSlices(ClusterIndex.build(state))
      this.#index = index
      this.#changes = applied
      return { index, state }
    } finally {
      unsubscribe()
    }
  }

  /** Each command is checked again where it is applied; one that is refused stands in no other's way. */
  async #propose({ place, preempt, evict, wait }: Plan, state: State): Promise<void> {
    const commands: Command[] = [
      ...evict.map((eviction) => ({ type: 'workload.evict' as const, ...eviction })),
      ...preempt.map((preemption) => ({ type: 'workload.preempt' as const, ...preemption })),
      ...place.map(({ workload: id, placements }) => ({ type: 'workload.place' as const, id, placements })),
    ]
    await this.#inTurn(commands)
    const isNew = ({ workload, reason }: { workload: string; reason: Reason }) =>
      state.experiments.get(workload)?.reason?.code !== reason.code
    const { fresh = [], known = [] } = Object.groupBy(wait, (one) => (isNew(one) ? 'fresh' : 'known'))
    const told = [...fresh.slice(0, mostFresh), ...known.slice(0, mostTexts)]
    await this.#inTurn(
      told.map(({ workload: id, reason }) => ({ type: 'workload.wait' as const, id, reason })),
    )
  }

  async #inTurn(commands: readonly Command[]): Promise<void> {
    for (let at = 0; at < commands.length && !this.#stopped; at += mostInFlight)
      await Promise.all(commands.slice(at, at + mostInFlight).map((command) => this.#proposeOne(command)))
  }

  async #proposeOne(command: Command): Promise<void> {
    try {
      await this.#cluster.propose(command, system)
      if (command.type === 'workload.place') this.#meter?.placed(command.placements.length)
    } catch (error) {
      // A lost leadership, or the state moved on: the next pass starts from the newest.
      if (error instanceof ProblemError) this.#meter?.refused(error.code)
      this.#log.warn({ err: error, command: command.type }, 'what was planned is refused')
    }
  }
}
