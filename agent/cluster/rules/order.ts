import { priorityClasses, ProblemError } from '../../../contract/index.ts'
import type { ExperimentSpec } from '../../../contract/index.ts'
import type { NodeRow, State, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { defaultQueue, queueOf, type Workload } from '../workloads.ts'
import { overQuota } from './quota.ts'
import { reservedFor } from './reserved.ts'

/** Refuses what its queue does not take. */
export function checkQueue(state: Pick<State, 'queues'>, spec: ExperimentSpec): void {
  const name = spec.queue ?? defaultQueue
  if (name !== defaultQueue && !state.queues.has(name))
    throw refusal('/queue', `there is no queue ${name}; see \`submarine queue list\``)
  const queue = queueOf(state, name)
  if (!queue.open) throw refusal('/queue', `the queue ${name} takes no new work at present`)
  const rank = (priority: (typeof priorityClasses)[number]) => priorityClasses.indexOf(priority)
  if (spec.priority && rank(spec.priority) > rank(queue.max_priority))
    throw refusal('/priority', `the queue ${name} takes at most class ${queue.max_priority}`)
  const { max_runtime_seconds: most } = queue
  const asked = spec.timeout_seconds ?? queue.default_runtime_seconds
  if (most === null || (asked !== null && asked <= most)) return
  throw refusal(
    '/timeout',
    asked === null
      ? `expected a timeout: the queue ${name} takes at most ${most} seconds`
      : `the queue ${name} takes at most ${most} seconds, not ${asked}`,
  )
}

const refusal = (pointer: string, message: string) =>
  new ProblemError('invalid_spec', undefined, { errors: [{ pointer, message }] })

/** Before anything is placed: no quota may be passed by it. */
export function checkQuota(tx: Transaction, workload: Workload, tasks: readonly TaskRow[]): void {
  const over = overQuota(tx.state, workload, tasks, Date.parse(tx.at))
  if (over) throw new ProblemError('conflict', over.message)
}

/** What is reserved for others on the nodes of a placement; each task that is placed there uses some of the rest. */
export function reservedOn(tx: Transaction, workload: Workload) {
  const left = new Map<string, { held: Set<string>; gpus: number }>()
  return (node: NodeRow, holders: readonly TaskRow[], gpus: readonly string[]): void => {
    let here = left.get(node.id)
    if (!here) {
      const reserved = reservedFor(tx.state, workload, node, Date.parse(tx.at), holders)
      if (reserved.whole) throw new ProblemError('conflict', reserved.whole.message)
      left.set(node.id, (here = { held: new Set(holders.flatMap((task) => task.gpus)), gpus: reserved.gpus }))
    }
    const more = gpus.filter((uuid) => !here.held.has(uuid))
    here.gpus -= more.length
    for (const uuid of more) here.held.add(uuid)
    if (more.length && here.gpus < 0)
      throw new ProblemError('conflict', `${gpus.length} GPUs of ${node.name} are reserved for others`)
  }
}
