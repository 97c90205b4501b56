import type { Reason, State } from '../../../contract/index.ts'
import type { PastAttempt, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { accountFor } from './accounting.ts'
import { noticeDrained } from './drained.ts'
import { settle, taskEvent } from './settle.ts'

/** So many earlier attempts of a task are remembered. */
const mostPast = 20

export interface End {
  readonly state: Extract<State, 'Succeeded' | 'Failed' | 'Stopped'>
  readonly reason: Reason | null
}

/** An attempt ended, and with it the task. */
export function finish(tx: Transaction, task: TaskRow, { state, reason }: End): void {
  const ended = {
    ...task,
    state,
    reason,
    token_sha256: null,
    evict: null,
    finished_at: task.finished_at ?? tx.at,
  }
  tx.put('tasks', task.id, ended)
  taskEvent(tx, task, state, reason)
  attemptEnded(tx, ended)
  settle(tx, task.workload)
}

/** An attempt ended, and its task waits for the next: nothing of the node it was on stays with it. */
export function requeue(tx: Transaction, task: TaskRow, reason: Reason): void {
  const ended = { ...task, reason, finished_at: task.finished_at ?? tx.at }
  tx.put('tasks', task.id, {
    ...task,
    state: 'Queued', reason, node: null, runtime: null, gpus: [], token_sha256: null, boot_id: null, exit_code: null,
    started_at: null, finished_at: null, artifacts: null, log: null, metrics: null, evict: null,
    past: [...(task.past ?? []), pastOf(ended)].slice(-mostPast),
  }) // prettier-ignore
  taskEvent(tx, task, 'Queued', reason)
  attemptEnded(tx, ended)
  settle(tx, task.workload)
}

function pastOf(task: TaskRow & { finished_at: string }): PastAttempt {
  const { attempt, node, gpus, reason, exit_code, started_at, finished_at, log, artifacts, metrics } = task
  return { attempt, node, gpus, reason, exit_code, started_at, finished_at, log, artifacts, metrics }
}

/** Every end of every attempt comes by here, with its row as it was when it ended. */
function attemptEnded(tx: Transaction, task: TaskRow): void {
  accountFor(tx, task)
  if (task.node !== null) noticeDrained(tx, task.node)
}
