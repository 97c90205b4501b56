import { preemptionBounds } from '../cluster/rules/preemption.ts'
import { gangsOf, type Workload } from '../cluster/workloads.ts'
import type { State, TaskRow } from '../cluster/state.ts'
import type { Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { Gang } from './gang.ts'
import type { Hold } from './holds.ts'
import { keptOf } from './backfill.ts'
import { rankOf } from './lanes.ts'
import { type Bounds, hasRoom, type PlaceContext, placeGang } from './place.ts'
import type { Preemption } from './plan.ts'
import { billOf } from './tally.ts'

/** A gang that could be made to leave. */
interface Candidate {
  readonly workload: Workload
  readonly tasks: readonly TaskRow[]
  /** Billed GPU-seconds that would be lost. */
  readonly loss: number
  readonly rank: number
}

export interface Victims {
  readonly preemption: Preemption
  readonly hold: Hold
  readonly tasks: readonly string[]
  /** For people. */
  readonly names: readonly string[]
}

/** Fewer are enough to find room for anybody; more would hold the agent up. */
const mostTried = 400

/**
 * Whole gangs of a lower class that make room together with what is free, at the least loss: classes from below, in
 * each the least work lost; whoever proves unnecessary stays, the most costly first.
 */
export function* findVictims(
  context: PlaceContext,
  index: ClusterIndex,
  state: State,
  gang: Gang,
  bounds: Bounds,
  now: number,
  chosen: ReadonlySet<string>,
): Generator<void, Victims | undefined, void> {
  if (rankOf(gang.workload) === 0) return undefined
  const candidates = candidatesFor(index, state, gang, now, chosen)
  if (!candidates.length) return undefined
  const { board } = index
  const mark = board.mark()
  const gone = new Set<Candidate>()
  const leave = (candidate: Candidate) => {
    gone.add(candidate)
    for (const task of candidate.tasks) board.pretend(task, 1)
  }
  const stay = (candidate: Candidate) => {
    gone.delete(candidate)
    for (const task of candidate.tasks) board.pretend(task, -1)
  }
  const fits = (): Take[] | undefined => {
    const takes = hasRoom(board, gang, bounds) ? placeGang(context, gang, bounds) : undefined
    for (const take of takes?.toReversed() ?? []) board.giveBack(take)
    return takes
  }
  let takes: Take[] | undefined
  for (const candidate of candidates) {
    leave(candidate)
    takes = fits()
    if (takes) break
    yield
  }
  for (const candidate of takes ? [...gone].reverse() : []) {
    stay(candidate)
    const without = fits()
    if (without) takes = without
    else leave(candidate)
    yield
  }
  const victims = takes ? describe(context, gang, bounds, [...gone], now) : undefined
  for (const candidate of [...gone].reverse()) stay(candidate)
  board.rewind(mark)
  return victims
}

function candidatesFor(
  index: ClusterIndex,
  state: State,
  gang: Gang,
  now: number,
  chosen: ReadonlySet<string>,
): Candidate[] {
  const rank = rankOf(gang.workload)
  const { youngestMs, most, withinMs } = preemptionBounds
  const since = new Date(now - withinMs).toISOString()
  const candidates: Candidate[] = []
  for (const { workload, tasks } of index.live.values()) {
    if (!workload.preemptible || rankOf(workload) >= rank || workload.stop_requested) continue
    const often = state.experiments.get(workload.id)?.preempted?.filter((at) => at > since).length ?? 0
    if (often >= most) continue
    const isOld = ({ started_at }: TaskRow) =>
      started_at !== null && now - Date.parse(started_at) > youngestMs
    for (const gone of gangsOf(workload, tasks)) {
      if (
        !gone.length ||
        gone.some((task) => task.evict || chosen.has(task.id) || !isOld(task)) ||
        !helps(index, gang, gone)
      )
        continue
      const loss = gone.reduce(
        (sum, task) => sum + (billOf(task) * (now - Date.parse(task.started_at ?? ''))) / 1000,
        0,
      )
      candidates.push({ workload, tasks: gone, loss, rank: rankOf(workload) })
    }
  }
  const order = (a: Candidate, b: Candidate) =>
    a.rank - b.rank || a.loss - b.loss || ((a.tasks[0]?.id ?? '') < (b.tasks[0]?.id ?? '') ? -1 : 1)
  return candidates.toSorted(order).slice(0, mostTried)
}

/** Does it leave a node on which some of the gang could run? */
function helps({ board }: ClusterIndex, gang: Gang, tasks: readonly TaskRow[]): boolean {
  return tasks.some((task) => {
    const site = board.site(task.node ?? '')
    return site && !site.closed && gang.parts.some(({ shape }) => board.able(shape, site))
  })
}

/** Made while those who leave are gone from the board. */
function describe(
  context: PlaceContext,
  gang: Gang,
  bounds: Bounds,
  gone: readonly Candidate[],
  now: number,
): Victims | undefined {
  const takes = placeGang(context, gang, bounds)
  if (!takes) return undefined
  const kept = keptOf(takes)
  for (const take of takes.toReversed()) context.board.giveBack(take)
  const { id, name, priority } = gang.workload
  const victims = [...Map.groupBy(gone, ({ workload }) => workload)].map(([workload, parts]) =>
    workload.array_limit === null
      ? { workload: workload.id }
      : { workload: workload.id, tasks: parts.flatMap(({ tasks }) => tasks.map((task) => task.id)) },
  )
  const nominate = gang.tasks.map((task, at) => ({
    task: task.id,
    node: takes[at]?.site.row.id ?? '',
    gpus: takes[at]?.gpus ?? [],
  }))
  const reason = { code: 'preempted', message: `${name} is of class ${priority} and needs its place` }
  return {
    preemption: { id, victims, reason, nominate },
    hold: {
      owner: id,
      name,
      kind: 'nominated',
      at: now,
      certain: true,
      isFor: (other) => other.id === id,
      kept,
    },
    tasks: gone.flatMap(({ tasks }) => tasks.map((task) => task.id)),
    names: gone.map(({ workload }) => workload.name),
  }
}
