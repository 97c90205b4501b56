import { Map as ImmutableMap, Set as ImmutableSet } from 'immutable'
import { holdsResources } from '../../../contract/index.ts'
import type { State, TaskRow } from '../state.ts'
import { billOf, subjectsOf } from './shares.ts'

/** What somebody's tasks hold at once. cpu in thousandths of a core, so that sums are exact; `running`: workloads. */
export interface Use {
  readonly gpu: number
  readonly cpu: number
  readonly memory: number
  readonly disk: number
  readonly running: number
}

/** And what they are billed: Σ over those that began of hundredths of a GPU a second, and of that times the begin. */
export interface Held extends Use {
  readonly billed: number
  readonly billedSince: number
}

export const nothingUsed: Use = { gpu: 0, cpu: 0, memory: 0, disk: 0, running: 0 }
const nothingHeld: Held = { ...nothingUsed, billed: 0, billedSince: 0 }

/** Begins are counted from here: whole hundredths times whole seconds add up exactly, in whatever order tasks come. */
export const billedFrom = 1_700_000_000

/**
 * What is held, by whom and where: another look at `state.tasks`, kept beside it row by row, since rules and planner ask
 * for it at every placement. Immutable as the state is, so that each state has its own.
 */
export interface Holdings {
  readonly byNode: ImmutableMap<string, ImmutableMap<string, TaskRow>>
  readonly bySubject: ImmutableMap<string, Held>
  /** How many tasks hold something, by workload, and whose they are. */
  readonly byWorkload: ImmutableMap<string, { readonly tasks: number; readonly subjects: readonly string[] }>
  /** Tasks that were asked to leave and have not yet. */
  readonly leaving: ImmutableMap<string, TaskRow>
}

type Tables = Pick<State, 'tasks' | 'experiments'>

const nobody: Holdings = {
  byNode: ImmutableMap(),
  bySubject: ImmutableMap(),
  byWorkload: ImmutableMap(),
  leaving: ImmutableMap(),
}

const known = new WeakMap<State['tasks'], Holdings>()

export function holdingsOf(state: Tables): Holdings {
  let made = known.get(state.tasks)
  if (made) return made
  made = nobody
  for (const task of state.tasks.values()) made = withRow(made, state, undefined, task)
  known.set(state.tasks, made)
  return made
}

/** After one row of `before.tasks` became that of `after`: nobody walks over all of them again. */
export function followHoldings(before: Tables, after: Tables, id: string): void {
  const made = known.get(before.tasks)
  if (made) known.set(after.tasks, withRow(made, after, before.tasks.get(id), after.tasks.get(id)))
}

export const usageOf = (state: Tables, subject: string): Use =>
  holdingsOf(state).bySubject.get(subject) ?? nothingUsed

/** Like `usageOf`, with what it is billed. */
export const heldBy = (state: Tables, subject: string): Held =>
  holdingsOf(state).bySubject.get(subject) ?? nothingHeld

/** The tasks that hold resources of a node. */
export const holdersOf = (state: Tables, node: string): TaskRow[] => [
  ...(holdingsOf(state).byNode.get(node)?.values() ?? []),
]

function withRow(
  holdings: Holdings,
  state: Tables,
  before: TaskRow | undefined,
  after: TaskRow | undefined,
): Holdings {
  const left = before && holdsResources(before.state) ? without(holdings, before) : holdings
  return after && holdsResources(after.state) ? having(left, state, after) : left
}

function having(holdings: Holdings, state: Tables, task: TaskRow): Holdings {
  const { byNode, byWorkload, leaving } = holdings
  const owner = byWorkload.get(task.workload)
  const row = state.experiments.get(task.workload)
  // What nobody owns is nobody's: its workload is gone already.
  const subjects =
    owner?.subjects ?? (row ? subjectsOf({ owner: row.owner, team: row.spec.team ?? null }) : [])
  return {
    byNode: task.node === null ? byNode : byNode.update(task.node, ImmutableMap(), (on) => on.set(task.id, task)),
    bySubject: counted(holdings.bySubject, subjects, task, 1, owner ? 0 : 1),
    byWorkload: byWorkload.set(task.workload, { tasks: (owner?.tasks ?? 0) + 1, subjects }),
    leaving: task.evict ? leaving.set(task.id, task) : leaving,
  } // prettier-ignore
}

function without(holdings: Holdings, task: TaskRow): Holdings {
  const { byNode, byWorkload, leaving } = holdings
  const { tasks, subjects } = byWorkload.get(task.workload) ?? { tasks: 1, subjects: [] }
  const on = task.node === null ? undefined : byNode.get(task.node)?.delete(task.id)
  return {
    byNode: task.node === null || !on ? byNode : on.size ? byNode.set(task.node, on) : byNode.delete(task.node),
    bySubject: counted(holdings.bySubject, subjects, task, -1, tasks === 1 ? -1 : 0),
    byWorkload: tasks === 1 ? byWorkload.delete(task.workload) : byWorkload.set(task.workload, { tasks: tasks - 1, subjects }),
    leaving: task.evict ? leaving.delete(task.id) : leaving,
  } // prettier-ignore
}

function counted(
  held: Holdings['bySubject'],
  subjects: readonly string[],
  task: TaskRow,
  sign: 1 | -1,
  running: number,
): Holdings['bySubject'] {
  const { gpu, cpu, memory, disk } = task.resources
  const bill = task.started_at === null ? 0 : sign * Math.round(billOf(task) * 100)
  const since = task.started_at === null ? 0 : Math.floor(Date.parse(task.started_at) / 1000) - billedFrom
  return subjects.reduce((all, subject) => {
    const one = all.get(subject) ?? nothingHeld
    return all.set(subject, {
      gpu: one.gpu + sign * gpu,
      cpu: one.cpu + sign * Math.round(cpu * 1000),
      memory: one.memory + sign * memory,
      disk: one.disk + sign * disk,
      running: one.running + running,
      billed: one.billed + bill,
      billedSince: one.billedSince + bill * since,
    })
  }, held)
}

// --- nominations --------------------------------------------------------------------------------------------

const nominees = new WeakMap<State['experiments'], ImmutableSet<string>>()

/** Workloads for which others were made to leave, in no order. */
export function nominatedIn({ experiments }: Pick<State, 'experiments'>): ImmutableSet<string> {
  const made = nominees.get(experiments)
  if (made) return made
  const found = [...experiments.values()].filter(({ nominated }) => nominated).map(({ id }) => id)
  const all = ImmutableSet(found)
  nominees.set(experiments, all)
  return all
}

/** After one row of `before` became that of `after`. */
export function followNominations(
  before: State['experiments'],
  after: State['experiments'],
  id: string,
): void {
  const made = nominees.get(before)
  if (made) nominees.set(after, after.get(id)?.nominated ? made.add(id) : made.delete(id))
}
