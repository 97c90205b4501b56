import { preemptionBounds } from '../cluster/rules/preemption.ts'
import { isBorrowed, isGuaranteed, subjectsOf } from '../cluster/rules/quota.ts'
import { billOf } from '../cluster/rules/shares.ts'
import { gangsOf, type Workload } from '../cluster/workloads.ts'
import type { State, TaskRow } from '../cluster/state.ts'
import { keptOf } from './backfill.ts'
import type { Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { Gang } from './gang.ts'
import type { Hold } from './holds.ts'
import { rankOf } from './lanes.ts'
import { type Bounds, type PlaceContext, placeGang } from './place.ts'
import type { Preemption } from './plan.ts'
import { RoomWatch } from './room-watch.ts'

/** A gang that could be made to leave. */
interface Candidate {
  readonly workload: Workload
  readonly tasks: readonly TaskRow[]
  /** Billed GPU-seconds that would be lost. */
  readonly loss: number
  readonly rank: number
  /** Not of a lower class: it may only have to give back what its owner or team borrowed. */
  readonly lender: boolean
}

export interface Victims {
  readonly preemption: Preemption
  readonly hold: Hold
  readonly tasks: readonly string[]
  /** For people. */
  readonly names: readonly string[]
}

export interface Wanting {
  readonly context: PlaceContext
  readonly index: ClusterIndex
  readonly state: State
  readonly gang: Gang
  readonly bounds: Bounds
  readonly now: number
  /** Tasks that are to leave already. */
  readonly leaving: ReadonlySet<string>
}

/** Fewer are enough to find room for anybody; more would hold the agent up. */
const mostTried = 400

/**
 * Whole gangs of a lower class, or of those who borrowed what this one is guaranteed, that make room together with what
 * is free, at the least loss: classes from below, in each the least work lost; whoever proves unnecessary stays, the
 * most costly first.
 */
export function* findVictims(wanting: Wanting): Generator<void, Victims | undefined, void> {
  const candidates = yield* candidatesFor(wanting)
  if (!candidates.length) return undefined
  const { board } = wanting.index
  const mark = board.mark()
  const gone = new Set<Candidate>()
  const room = new RoomWatch(board, wanting.gang, wanting.bounds)
  const pretend = ({ tasks }: Candidate, ended: 1 | -1) => {
    for (const task of tasks) {
      board.pretend(task, ended)
      const site = board.site(task.node ?? '')
      if (site) room.changed(site)
    }
  }
  const leave = (candidate: Candidate) => {
    gone.add(candidate)
    pretend(candidate, 1)
  }
  const stay = (candidate: Candidate) => {
    gone.delete(candidate)
    pretend(candidate, -1)
  }
  let found = false
  for (const candidate of candidates) {
    if (candidate.lender && !hasToGiveBack(wanting, candidate, gone)) continue
    leave(candidate)
    found = fits(wanting, room) !== undefined
    if (found) break
    yield
  }
  for (const candidate of found ? [...gone].reverse() : []) {
    stay(candidate)
    if (!fits(wanting, room)) leave(candidate)
    yield
  }
  const takes = found ? fits(wanting, room) : undefined
  for (const candidate of [...gone].reverse()) pretend(candidate, -1)
  board.rewind(mark)
  return takes && describe(wanting, takes, [...gone])
}

/** Where the gang would be with those gone who are; and what is kept for it there. */
interface Found {
  readonly takes: readonly Take[]
  readonly kept: Hold['kept']
}

function fits({ context, gang, bounds }: Wanting, room: RoomWatch): Found | undefined {
  const takes = room.hasRoom() ? placeGang(context, gang, bounds) : undefined
  if (!takes) return undefined
  const kept = keptOf(takes)
  for (const take of takes.toReversed()) context.board.giveBack(take)
  return { takes, kept }
}

function* candidatesFor({ index, state, gang, now, leaving }: Wanting): Generator<void, Candidate[], void> {
  const rank = rankOf(gang.workload)
  const { youngestMs, most, withinMs } = preemptionBounds
  const since = new Date(now - withinMs).toISOString()
  const useOf = (subject: string) => index.tally.of(subject)
  const gpus = gang.tasks.reduce((sum, { resources }) => sum + resources.gpu, 0)
  const reclaims = state.quotas.size > 0 && gpus > 0 && isGuaranteed(state, gang.workload, gpus, useOf)
  if (rank === 0 && !reclaims) return []
  const isOld = ({ started_at }: TaskRow) => started_at !== null && now - Date.parse(started_at) > youngestMs
  const candidates: Candidate[] = []
  let looked = 0
  for (const { workload, tasks } of index.live.values()) {
    if (++looked % 256 === 0) yield
    const below = workload.preemptible && rankOf(workload) < rank
    if (workload.stop_requested || (!below && !(reclaims && isOther(gang.workload, workload)))) continue
    const often = state.experiments.get(workload.id)?.preempted?.filter((at) => at > since).length ?? 0
    if (often >= most) continue
    for (const gone of gangsOf(workload, tasks)) {
      const mayLeave = gone.every((task) => !task.evict && !leaving.has(task.id) && isOld(task))
      if (!gone.length || !mayLeave || !helps(index, gang, gone)) continue
      candidates.push({
        workload,
        tasks: gone,
        loss: lossOf(gone, now),
        rank: rankOf(workload),
        lender: !below,
      })
    }
  }
  const order = (a: Candidate, b: Candidate) =>
    a.rank - b.rank || a.loss - b.loss || ((a.tasks[0]?.id ?? '') < (b.tasks[0]?.id ?? '') ? -1 : 1)
  return candidates.toSorted(order).slice(0, mostTried)
}

const lossOf = (tasks: readonly TaskRow[], now: number): number =>
  tasks.reduce((sum, task) => sum + (billOf(task) * (now - Date.parse(task.started_at ?? ''))) / 1000, 0)

/** Nobody takes from oneself, or within the own team. */
const isOther = (a: Workload, b: Workload): boolean =>
  a.team === null ? a.owner !== b.owner : a.team !== b.team

/** With all who leave gone, its owner and team still have what they are guaranteed. */
function hasToGiveBack(
  { index, state, leaving }: Wanting,
  candidate: Candidate,
  gone: ReadonlySet<Candidate>,
): boolean {
  const lost = new Map<string, number>()
  const lose = (workload: Workload, tasks: readonly TaskRow[]) => {
    const gpus = tasks.reduce((sum, { resources }) => sum + resources.gpu, 0)
    for (const subject of gpus ? subjectsOf(workload) : []) lost.set(subject, (lost.get(subject) ?? 0) + gpus)
  }
  for (const { workload, tasks } of [...gone, candidate]) lose(workload, tasks)
  for (const { workload, tasks } of index.live.values())
    lose(workload, tasks.filter((task) => task.evict || leaving.has(task.id))) // prettier-ignore
  const useOf = (subject: string) => index.tally.of(subject)
  return isBorrowed(state, candidate.workload, (subject) => lost.get(subject) ?? 0, useOf)
}

/** Does it leave a node on which some of the gang could run? */
function helps({ board }: ClusterIndex, gang: Gang, tasks: readonly TaskRow[]): boolean {
  return tasks.some((task) => {
    const site = board.site(task.node ?? '')
    return site && !site.closed && gang.parts.some(({ shape }) => board.canEver(shape, site))
  })
}

function describe({ gang, now }: Wanting, { takes, kept }: Found, gone: readonly Candidate[]): Victims {
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
  const reason = gone.some(({ lender }) => lender)
    ? { code: 'reclaimed', message: `${name} is guaranteed what was borrowed` }
    : { code: 'preempted', message: `${name} is of class ${priority} and needs its place` }
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
