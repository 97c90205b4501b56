import { holdsResources, isFinal } from '../../../contract/index.ts'
import type { TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { gangsOf, type Workload, workloadOf } from '../workloads.ts'

/** Neither placed nor over. */
export const waits = (task: Pick<TaskRow, 'state'>): boolean =>
  !isFinal(task.state) && !holdsResources(task.state)

/** The workload a task belongs to. */
export function workloadFor(tx: Transaction, task: Pick<TaskRow, 'workload'>): Workload {
  const workload = workloadOf(tx.state, task.workload)
  if (!workload) throw new Error(`task of a workload that is not there: ${task.workload}`)
  return workload
}

export function tasksFor(tx: Transaction, workload: Workload): TaskRow[] {
  return workload.tasks.map((id) => tx.need('tasks', id, 'task'))
}

/** The other tasks that start and end with this one: none for a task of an array. */
export function peersOf(tx: Transaction, task: TaskRow): TaskRow[] {
  const workload = workloadFor(tx, task)
  // Placement takes gangs apart in one way only, so does this.
  const gang = gangsOf(workload, tasksFor(tx, workload)).find((tasks) =>
    tasks.some(({ id }) => id === task.id),
  )
  return (gang ?? []).filter(({ id }) => id !== task.id)
}
