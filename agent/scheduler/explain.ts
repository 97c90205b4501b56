import { type Explanation, holdsResources, isFinal, type Reason } from '../../contract/index.ts'
import type { State, TaskRow } from '../cluster/state.ts'
import { type Workload, workloadOf } from '../cluster/workloads.ts'
import type { Take } from './board.ts'
import { ClusterIndex } from './cluster-index.ts'
import { estimate } from './estimate.ts'
import type { Gang } from './gang.ts'
import { helpFor } from './help.ts'
import { QuotaCheck } from './limits.ts'
import { type Entry, Turns } from './lanes.ts'
import { Pass, placementsOf, type Trace } from './pass.ts'
import type { Plan } from './plan.ts'
import { shareTable } from './shares.ts'
import type { Surroundings } from './surroundings.ts'
import { reasonsOn, type Why, why } from './words.ts'

/** So many of those ahead, and of those who hold what is asked for, are named. */
const mostNamed = 10

/**
 * Why a workload waits and what would help, by the pass that would place it: where that pass places it, it is
 * `placeable`. In steps, since it looks at everything.
 */
export function* explainSteps(
  state: State,
  surroundings: Surroundings,
  id: string,
): Generator<void, Explanation, void> {
  const workload = workloadOf(state, id)
  if (!workload) throw new Error(`there is no workload ${id}`)
  const index = yield* ClusterIndex.build(state)
  const entry = index.lanes.entry(id)
  if (!entry) return settled(state, workload)
  const seen = new Witness(index, state, surroundings, entry)
  const pass = new Pass(index, state, surroundings, { trace: seen, tell: 'nothing' })
  let plan: Plan
  try {
    plan = yield* pass.run()
  } finally {
    pass.undo()
  }
  const { position, before } = yield* standing(index, state, surroundings, entry)
  const placeable = seen.placements.length > 0
  const expected_start = placeable
    ? { at: new Date(surroundings.now).toISOString(), confidence: 'high' as const }
    : yield* estimate(index, { state, plan, surroundings, entry, before })
  return {
    workload: id,
    placeable,
    reason: placeable ? null : (seen.rules[0] ?? null),
    position,
    ahead: before.slice(-mostNamed).map((other) => ({
      workload: other.workload.id,
      name: other.workload.name,
      owner: other.workload.owner,
      why: (seen.verdicts.get(other.workload.id)?.reason().message ?? 'is placed first').slice(0, 500),
    })),
    rules: placeable ? [] : seen.rules,
    nodes: seen.nodes,
    placements: seen.placements,
    victims: victimsOf(plan, state, id),
    expected_start,
    help: placeable ? [] : helpFor(index, state, surroundings, { entry, plan, rules: seen.rules }),
  }
}

/** It runs, or is over: where its tasks are. */
function settled(state: State, { id, tasks }: Workload): Explanation {
  const rows = tasks.flatMap((task) => state.tasks.get(task) ?? [])
  const placements = rows
    .filter((task) => holdsResources(task.state))
    .flatMap(({ id: task, node, gpus }) => (node === null ? [] : [{ task, node, gpus: [...gpus] }]))
  const reason = rows.every((task) => isFinal(task.state))
    ? (state.experiments.get(id)?.reason ?? null)
    : null
  return {
    workload: id, placeable: false, reason, position: null, ahead: [], rules: [], nodes: [], placements, victims: [],
    expected_start: null, help: [],
  } // prettier-ignore
}

/** Its place in the order of everything that waits of its kind, and those before it. */
function* standing(
  { lanes }: ClusterIndex,
  state: State,
  { now }: Surroundings,
  entry: Entry,
): Generator<void, { position: number; before: Entry[] }, void> {
  const own = (entry.gangs[0]?.gpus ?? 0) > 0 ? 'gpu' : 'cpu'
  const same = [...lanes.byKey.values()].filter(({ pool }) => pool === own)
  const turns = new Turns(same, shareTable(state, lanes.byKey.values(), now), now)
  const before: Entry[] = []
  for (let turn = turns.next(); turn && turn.head !== entry; turn = turns.next()) {
    before.push(turn.head)
    turns.skip(turn)
    yield
  }
  return { position: before.length + 1, before }
}

function victimsOf({ preempt }: Plan, state: State, id: string): Explanation['victims'] {
  const victims = preempt.find((one) => one.id === id)?.victims ?? []
  return victims.flatMap((victim) => {
    const workload = workloadOf(state, victim.workload)
    return workload ? [{ workload: workload.id, name: workload.name, owner: workload.owner }] : []
  })
}

/** Looks on while the pass is made; what it tells of nodes is as they were when the workload's turn came. */
class Witness implements Trace {
  readonly verdicts = new Map<string, Why>()
  rules: Reason[] = []
  nodes: Explanation['nodes'] = []
  placements: Explanation['placements'] = []
  readonly #index: ClusterIndex
  readonly #state: State
  readonly #surroundings: Surroundings
  readonly #target: Entry

  constructor(index: ClusterIndex, state: State, surroundings: Surroundings, target: Entry) {
    this.#index = index
    this.#state = state
    this.#surroundings = surroundings
    this.#target = target
  }

  visited(entry: Entry, gang: Gang, verdict: Why | null, takes: readonly Take[]): void {
    if (verdict && !this.verdicts.has(entry.workload.id)) this.verdicts.set(entry.workload.id, verdict)
    if (entry !== this.#target) return
    if (!verdict) this.#placed(gang, takes)
    else if (!this.rules.length) this.#look(gang, verdict)
  }

  #placed(gang: Gang, takes: readonly Take[]): void {
    for (const { task, node, gpus } of placementsOf(gang, takes))
      this.placements.push({ task, node, gpus: [...gpus] })
    for (const { row } of new Set(takes.map(({ site }) => site)))
      this.nodes.push({ node: row.id, name: row.name, fits: true, reasons: [], holders: [] })
  }

  #look(gang: Gang, verdict: Why): void {
    const first = verdict.reason()
    this.rules = [first, ...this.#others(gang).filter(({ code }) => code !== first.code)]
    const { board } = this.#index
    const part =
      gang.parts.find(({ shape, tasks }) => board.capacity(shape).total < tasks.length) ?? gang.parts[0]
    if (!part) return
    this.nodes = board.sites.map((site) => {
      const reasons = reasonsOn(board, part.shape, site)
      const asksGpu = gang.gpus > 0
      const holders = reasons.length
        ? [...site.holders.values()].filter((task) => !asksGpu || task.gpus.length)
        : []
      return {
        node: site.row.id,
        name: site.row.name,
        fits: !reasons.length,
        reasons,
        holders: holders.slice(0, mostNamed).map((task) => this.#holder(task)),
      }
    })
  }

  /** Rules that would stand in its way beside the first. */
  #others(gang: Gang): Reason[] {
    const { board } = this.#index
    const rules: Reason[] = []
    const early = gang.tasks.find(
      ({ not_before }) => not_before && Date.parse(not_before) > this.#surroundings.now,
    )
    if (early?.not_before) rules.push(why.notBefore(early.not_before).reason())
    const quota = new QuotaCheck(this.#state, this.#surroundings.now).over(gang, this.#target.running === 0)
    if (quota) rules.push(quota)
    const isShort = gang.parts.some(({ shape, tasks }) => board.capacity(shape).total < tasks.length)
    if (isShort) rules.push(why.noRoom(board, gang).reason())
    return rules
  }

  #holder(task: TaskRow): Explanation['nodes'][number]['holders'][number] {
    const owner = workloadOf(this.#state, task.workload)?.owner ?? ''
    return { task: task.id, workload: task.workload, owner, resources: task.resources }
  }
}
