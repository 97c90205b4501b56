import { holdsResources } from '../../contract/index.ts'
import type { Applied } from '../cluster/commands.ts'
import type { State, TaskRow } from '../cluster/state.ts'
import { type Workload, workloadOf } from '../cluster/workloads.ts'
import { Board } from './board.ts'
import { endOf, waitingGangs } from './gang.ts'
import { type Entry, Lanes } from './lanes.ts'
import { Releases } from './releases.ts'
import { CalendarMemory } from './reservations.ts'
import { Shapes } from './shape.ts'

/** What runs of a workload. */
export interface Live {
  readonly workload: Workload
  readonly tasks: readonly TaskRow[]
  /** When it had to make room for others. */
  readonly preempted: readonly string[]
}

const never: readonly string[] = []

/**
 * The state as the planner asks it, kept up to date change by change. An index that followed every change and one
 * built anew from the same state give the same plans.
 */
export class ClusterIndex {
  readonly board = new Board()
  readonly shapes = new Shapes()
  readonly lanes = new Lanes()
  readonly releases = new Releases()
  readonly calendar = new CalendarMemory()
  readonly live = new Map<string, Live>()
  /** Those of them that a higher class may take the place of. */
  readonly preemptible = new Map<string, Live>()
  /** Workloads for which others were made to leave. */
  readonly nominated = new Set<string>()

  /** In steps, so that a large state does not hold the agent up. */
  static *build(state: State): Generator<void, ClusterIndex, void> {
    const index = new ClusterIndex()
    let done = 0
    for (const row of [...state.nodes.values()].toSorted((a, b) => a.member - b.member)) {
      index.board.setNode(row.id, row)
      if (++done % 50 === 0) yield
    }
    for (const id of state.experiments.keys()) {
      index.#setWorkload(state, id)
      if (++done % 50 === 0) yield
    }
    return index
  }

  static of(state: State): ClusterIndex {
    return finish(ClusterIndex.build(state))
  }

  /** After entries that were applied: `state` is the state after the last. */
  update(state: State, changes: readonly Pick<Applied, 'changed'>[]): void {
    const nodes = new Set<string>()
    const workloads = new Set<string>()
    for (const { changed } of changes) {
      for (const id of changed.get('nodes') ?? []) nodes.add(id)
      for (const id of changed.get('experiments') ?? []) workloads.add(id)
      for (const id of changed.get('tasks') ?? []) {
        const workload = state.tasks.get(id)?.workload
        if (workload !== undefined) workloads.add(workload)
      }
      // What a queue adds is part of the workloads in it.
      if (changed.has('queues')) for (const id of state.experiments.keys()) workloads.add(id)
    }
    for (const id of nodes) this.board.setNode(id, state.nodes.get(id))
    for (const id of workloads) this.#setWorkload(state, id)
  }

  #setWorkload(state: State, id: string): void {
    const workload = workloadOf(state, id)
    const tasks = workload ? workload.tasks.flatMap((task) => state.tasks.get(task) ?? []) : []
    const row = state.experiments.get(id)
    this.#setLive(id, workload, tasks.filter((task) => holdsResources(task.state)), row?.preempted ?? never) // prettier-ignore
    this.lanes.set(id, workload && this.#entryOf(state, workload, tasks))
    if (row?.nominated) this.nominated.add(id)
    else this.nominated.delete(id)
  }

  #setLive(
    id: string,
    workload: Workload | undefined,
    tasks: readonly TaskRow[],
    preempted: readonly string[],
  ): void {
    const before = this.live.get(id)
    if (before && isSame(before, workload, tasks, preempted)) return
    const kept = new Set(tasks.map((task) => task.id))
    for (const task of before?.tasks ?? []) {
      if (kept.has(task.id)) continue
      this.board.setTask(task.id, undefined)
      this.releases.delete(task.id)
    }
    this.live.delete(id)
    this.preemptible.delete(id)
    if (!workload || !tasks.length) return
    for (const task of tasks) {
      this.board.setTask(task.id, task)
      this.releases.set(task, workload)
    }
    const live = { workload, tasks, preempted }
    this.live.set(id, live)
    if (workload.preemptible) this.preemptible.set(id, live)
  }

  #entryOf(state: State, workload: Workload, tasks: readonly TaskRow[]): Entry | undefined {
    if (workload.stop_requested) return undefined
    const gangs = waitingGangs(workload, tasks, this.shapes)
    const first = gangs[0]?.tasks[0]
    if (!first) return undefined
    const row = state.experiments.get(workload.id)
    return {
      workload,
      gangs,
      createdAt: Date.parse(workload.created_at),
      span: endOf(workload, 0),
      running: tasks.filter((task) => holdsResources(task.state)).length,
      told: first.state === 'Queued' ? first.reason : null,
      nominatedUntil: row?.nominated ? Date.parse(row.nominated.until) : 0,
    }
  }
}

function isSame(
  before: Live,
  workload: Workload | undefined,
  tasks: readonly TaskRow[],
  preempted: readonly string[],
): boolean {
  if (before.workload !== workload || before.preempted !== preempted) return false
  return before.tasks.length === tasks.length && before.tasks.every((task, at) => task === tasks[at])
}

export function finish<T>(steps: Generator<void, T, void>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
