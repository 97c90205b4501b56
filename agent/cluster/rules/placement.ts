import { formatConstraint, holdsResources, isFinal, ProblemError } from '../../../contract/index.ts'
import type { Command, Placement } from '../commands.ts'
import type { NodeRow, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { gangsOf, type Workload, workloadOf } from '../workloads.ts'
import { asked, devicesFor, type Free, freeOf, lacking, without } from './capacity.ts'
import { tasksFor, waits } from './gangs.ts'
import { meets, usableGpu } from './constraints.ts'
import { holdersOf } from './holdings.ts'
import { leftBesideNominations } from './nominations.ts'
import { checkQuota, reservedOn } from './order.ts'
import { settle } from './settle.ts'

/** Place whole gangs or nothing: each of their waiting tasks, on a node that has room for it. */
export function place(
  tx: Transaction,
  { id, placements }: Extract<Command, { type: 'workload.place' }>,
): void {
  const experiment = tx.need('experiments', id, 'experiment')
  const workload = workloadOf(tx.state, id)
  if (!workload || workload.stop_requested || isFinal(workload.state))
    throw new ProblemError('conflict', `${id} is not waiting to be placed`)
  const placed = new Map(placements.map((placement) => [placement.task, placement]))
  const tasks = namedTasks(tx, workload, placed)
  if (!placements.length || placed.size !== placements.length || tasks.length !== placed.size)
    throw new ProblemError('conflict', `a placement must name tasks of ${id} that wait, each once`)
  checkArrayLimit(tx, workload, tasks.length)
  checkQuota(tx, workload, tasks)
  const reserved = reservedOn(tx, workload)
  // As they are before any of it: the tasks of one placement are counted beside them.
  const { state } = tx
  const holders = (node: string) => holdersOf(state, node)
  const free = freeFor(tx, workload, holders)
  for (const task of tasks) {
    const placement = placed.get(task.id)
    if (!placement) continue
    const node = checkNode(tx, placement)
    checkConstraints(workload, task, node, placement.gpus)
    reserved(node, holders(node.id), placement.gpus)
    free.set(node, take(task, node, placement, free.get(node)))
    start(tx, task, placement, node.name)
  }
  tx.put('experiments', id, {
    ...experiment,
    reason: null,
    ...(experiment.nominated ? { nominated: null } : {}),
  })
  settle(tx, id)
}

/** The tasks of every gang that is named; a gang is named as a whole, and only when no part of it still runs. */
function namedTasks(tx: Transaction, workload: Workload, placed: ReadonlyMap<string, Placement>): TaskRow[] {
  const named: TaskRow[] = []
  for (const gang of gangsOf(workload, tasksFor(tx, workload))) {
    const waiting = gang.filter(waits)
    if (!waiting.some((task) => placed.has(task.id))) continue
    if (!waiting.every((task) => placed.has(task.id)))
      throw new ProblemError(
        'conflict',
        `a placement must name each of the ${waiting.length} waiting tasks of ${workload.id} once`,
      )
    const still = gang.find((task) => holdsResources(task.state))
    if (still) throw new ProblemError('conflict', `${still.id} of the same gang still runs`)
    const early = waiting.find((task) => (task.not_before ?? '') > tx.at)
    if (early)
      throw new ProblemError('conflict', `${early.id} is not tried again before ${early.not_before ?? ''}`)
    named.push(...waiting)
  }
  return named
}

function checkArrayLimit(tx: Transaction, workload: Workload, more: number): void {
  if (workload.array_limit === null) return
  const running = tasksFor(tx, workload).filter((task) => holdsResources(task.state)).length
  if (running + more > workload.array_limit)
    throw new ProblemError(
      'conflict',
      `${workload.id} runs ${workload.array_limit} tasks at once; ${running} run already`,
    )
}

function checkNode(tx: Transaction, { node: id, runtime }: Placement): NodeRow {
  const node = tx.need('nodes', id, 'node')
  if (node.cordon) throw new ProblemError('conflict', `node ${node.name} takes nothing new: it is cordoned`)
  if (!node.inventory?.runtimes.includes(runtime))
    throw new ProblemError('conflict', `node ${node.name} has no runtime ${runtime}`)
  return node
}

/** What its spec and its queue ask of a node, and of the GPUs on it. */
function checkConstraints(
  { constraints }: Workload,
  task: TaskRow,
  node: NodeRow,
  gpus: readonly string[],
): void {
  const unmet = constraints.find((constraint) => !meets(node, constraint))
  if (unmet)
    throw new ProblemError(
      'conflict',
      `node ${node.name} does not meet ${formatConstraint(unmet)}, as ${task.id} asks`,
    )
  const known = new Map(node.inventory?.gpus.map((gpu) => [gpu.uuid, gpu]))
  const unfit = gpus.find((uuid) => !usableGpu(known.get(uuid), task.gpu, constraints))
  if (unfit)
    throw new ProblemError('conflict', `${unfit} on ${node.name} is not a GPU as ${task.id} asks for`)
}

/** What each node has left for this workload, looked up when it is first asked for. */
function freeFor(tx: Transaction, workload: Workload, holders: (node: string) => readonly TaskRow[]) {
  const beside = leftBesideNominations(tx, workload)
  const known = new Map<string, Free>()
  return {
    get: (node: NodeRow): Free => {
      const before = known.get(node.id)
      if (before) return before
      const on = holders(node.id)
      return beside(node, on, freeOf(node, on))
    },
    set: (node: NodeRow, free: Free) => known.set(node.id, free),
  }
}

/** What is left of a node after the placement; throws when it would be over-committed or a device had two owners. */
function take(task: TaskRow, node: NodeRow, { attempt, gpus }: Placement, free: Free): Free {
  if (attempt !== task.attempt + 1)
    throw new ProblemError('stale_attempt', `${task.id} is at attempt ${task.attempt}`)
  const short = lacking(asked(task), free.resources)
  if (short.length)
    throw new ProblemError('conflict', `${node.id} has not enough ${short.join(', ')} left for ${task.id}`)
  const may = devicesFor(node, task, free)
  const unavailable = gpus.filter((uuid) => !may.includes(uuid))
  if (gpus.length !== task.resources.gpu || new Set(gpus).size !== gpus.length || unavailable.length)
    throw new ProblemError(
      'conflict',
      `the GPUs chosen on ${node.id} for ${task.id} are not ${task.resources.gpu} free ones of the kind it asks for`,
    )
  return without(free, task, gpus)
}

function start(
  tx: Transaction,
  task: TaskRow,
  { attempt, node, runtime, gpus }: Placement,
  nodeName: string,
): void {
  tx.put('tasks', task.id, {
    ...task, state: 'Starting', reason: null, attempt, node, runtime, gpus, token_sha256: null, boot_id: null, exit_code: null,
    started_at: null, finished_at: null, artifacts: null, log: null, metrics: null, evict: null, not_before: null, idle_seconds: 0,
  }) // prettier-ignore
  tx.event(
    'task.placed',
    { kind: 'task', id: task.id },
    `${task.id} was placed on ${nodeName}, attempt ${attempt}`,
  )
}
