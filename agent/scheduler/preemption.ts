import { calledFor } from '../cluster/called.ts'
import { holdingsOf } from '../cluster/rules/holdings.ts'
import { isBorrowed, isGuaranteed, subjectsOf, type Use } from '../cluster/rules/quota.ts'
import { type Workload, workloadOf } from '../cluster/workloads.ts'
import type { State, TaskRow } from '../cluster/state.ts'
import { keptOf } from './backfill.ts'
import type { Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { Gang } from './gang.ts'
import type { Hold } from './holds.ts'
import { rankOf } from './lanes.ts'
import type { Candidate, Leavers } from './leavers.ts'
import { type Bounds, type PlaceContext, placeGang } from './place.ts'
import type { Preemption } from './plan.ts'
import { RoomWatch } from './room-watch.ts'

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
  readonly leavers: Leavers
  /** What everybody holds, with what was placed in this pass. */
  readonly useOf: (subject: string) => Use
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
  const loans = new Loans(wanting)
  const room = new RoomWatch(board, wanting.gang, wanting.bounds)
  const pretend = (candidate: Candidate, ended: 1 | -1) => {
    loans.lose(candidate, ended)
    for (const task of candidate.tasks) {
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
    if (candidate.lender && !loans.hasToGiveBack(candidate)) continue
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

function* candidatesFor(wanting: Wanting): Generator<void, Candidate[], void> {
  const { index, state, gang, leaving, leavers, useOf } = wanting
  const { workload } = gang
  const rank = rankOf(workload)
  const gpus = gang.tasks.reduce((sum, { resources }) => sum + resources.gpu, 0)
  const reclaims = state.quotas.size > 0 && gpus > 0 && isGuaranteed(state, workload, gpus, useOf)
  if (rank === 0 && !reclaims) return []
  const found: Candidate[] = []
  for (const candidate of yield* leavers.below(rank, reclaims)) {
    if (candidate.lender && !isOther(workload, candidate.workload)) continue
    if (candidate.tasks.some(({ id }) => leaving.has(id)) || !helps(index, gang, candidate.tasks)) continue
    if (found.push(candidate) >= mostTried) break
  }
  return found
}

/** Nobody takes from oneself, or within the own team. */
const isOther = (a: Workload, b: Workload): boolean =>
  a.team === null ? a.owner !== b.owner : a.team !== b.team

/** GPUs that everybody loses by those who leave: with all of them gone, each still has what it is guaranteed. */
class Loans {
  readonly #wanting: Wanting
  readonly #lost = new Map<string, number>()

  constructor(wanting: Wanting) {
    this.#wanting = wanting
    if (!wanting.state.quotas.size) return
    const { state, leaving } = wanting
    const named = [...leaving].flatMap((id) => state.tasks.get(id) ?? [])
    const all = new Map([...holdingsOf(state).leaving.values(), ...named].map((task) => [task.id, task]))
    for (const task of all.values()) {
      const workload = workloadOf(state, task.workload)
      if (workload) this.lose({ workload, tasks: [task] }, 1)
    }
  }

  lose({ workload, tasks }: Pick<Candidate, 'workload' | 'tasks'>, sign: 1 | -1): void {
    const gpus = sign * tasks.reduce((sum, { resources }) => sum + resources.gpu, 0)
    for (const subject of gpus ? subjectsOf(workload) : [])
      this.#lost.set(subject, (this.#lost.get(subject) ?? 0) + gpus)
  }

  hasToGiveBack(candidate: Candidate): boolean {
    const { state, useOf } = this.#wanting
    this.lose(candidate, 1)
    const borrowed = isBorrowed(state, candidate.workload, (subject) => this.#lost.get(subject) ?? 0, useOf)
    this.lose(candidate, -1)
    return borrowed
  }
}

/** Does it leave a node on which some of the gang could run? */
function helps({ board }: ClusterIndex, gang: Gang, tasks: readonly TaskRow[]): boolean {
  return tasks.some((task) => {
    const site = board.site(task.node ?? '')
    return site && !site.closed && gang.parts.some(({ shape }) => board.canEver(shape, site))
  })
}

function describe({ gang, now }: Wanting, { takes, kept }: Found, gone: readonly Candidate[]): Victims {
  const { id, priority } = gang.workload
  const name = calledFor(undefined, gang.workload)
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
      owner: gang.workload,
      kind: 'nominated',
      at: now,
      certain: true,
      isFor: (other) => other.id === id,
      kept,
    },
    tasks: gone.flatMap(({ tasks }) => tasks.map((task) => task.id)),
    names: gone.map(({ workload }) => calledFor(gang.workload, workload)),
  }
}
