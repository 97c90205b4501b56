import { preemptionBounds } from '../cluster/rules/preemption.ts'
import { billOf } from '../cluster/rules/shares.ts'
import type { TaskRow } from '../cluster/state.ts'
import { gangsOf, type Workload } from '../cluster/workloads.ts'
import type { ClusterIndex, Live } from './cluster-index.ts'
import { rankOf } from './lanes.ts'

/** A gang that could be made to leave. */
export interface Leaver {
  readonly workload: Workload
  readonly tasks: readonly TaskRow[]
  /** When the last of it began, ms; Infinity when some of it has not, or was asked to leave. */
  readonly youngest: number
  /** What it is billed a second, in GPUs; and that times its begin. */
  readonly billed: number
  readonly billedSince: number
}

export interface Candidate extends Leaver {
  /** Billed GPU-seconds that would be lost. */
  readonly loss: number
  readonly rank: number
  /** Not of a lower class: it may only have to give back what its owner or team borrowed. */
  readonly lender: boolean
}

const known = new WeakMap<Live, readonly Leaver[]>()

/** The gangs of what runs, made once for as long as none of its rows changes. */
function leaversOf(live: Live): readonly Leaver[] {
  const before = known.get(live)
  if (before) return before
  const made = gangsOf(live.workload, live.tasks)
    .filter((tasks) => tasks.length)
    .map((tasks) => leaver(live.workload, tasks))
  known.set(live, made)
  return made
}

function leaver(workload: Workload, tasks: readonly TaskRow[]): Leaver {
  let [youngest, billed, billedSince] = [0, 0, 0]
  for (const task of tasks) {
    const since = task.started_at === null || task.evict ? Infinity : Date.parse(task.started_at)
    youngest = Math.max(youngest, since)
    billed += billOf(task)
    billedSince += (billOf(task) * since) / 1000
  }
  return { workload, tasks, youngest, billed, billedSince }
}

/** Who could leave for whom, for one pass: those who lose least first, classes from below. */
export class Leavers {
  readonly #index: ClusterIndex
  readonly #now: number
  readonly #known = new Map<string, readonly Candidate[]>()

  constructor(index: ClusterIndex, now: number) {
    this.#index = index
    this.#now = now
  }

  /** Of classes below `rank`; with `reclaims` all others too, who may have borrowed. */
  *below(rank: number, reclaims: boolean): Generator<void, readonly Candidate[], void> {
    const key = `${rank} ${reclaims}`
    const before = this.#known.get(key)
    if (before) return before
    const found: Candidate[] = []
    let looked = 0
    for (const live of reclaims ? this.#index.live.values() : this.#index.preemptible.values()) {
      if (++looked % 256 === 0) yield
      const own = rankOf(live.workload)
      const lender = !live.workload.preemptible || own >= rank
      if ((lender && !reclaims) || live.workload.stop_requested || this.#wasOften(live)) continue
      for (const one of leaversOf(live))
        if (this.#now - one.youngest > preemptionBounds.youngestMs)
          found.push({ ...one, loss: one.billed * (this.#now / 1000) - one.billedSince, rank: own, lender })
    }
    yield
    found.sort(order)
    yield
    this.#known.set(key, found)
    return found
  }

  #wasOften({ preempted }: Live): boolean {
    if (!preempted.length) return false
    const since = new Date(this.#now - preemptionBounds.withinMs).toISOString()
    return preempted.filter((at) => at > since).length >= preemptionBounds.most
  }
}

const order = (a: Candidate, b: Candidate): number =>
  a.rank - b.rank || a.loss - b.loss || ((a.tasks[0]?.id ?? '') < (b.tasks[0]?.id ?? '') ? -1 : 1)
