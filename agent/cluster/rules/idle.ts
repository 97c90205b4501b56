import { formatDuration, ProblemError } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { Transaction } from '../transaction.ts'
import { evictGang } from './eviction.ts'
import { workloadFor } from './gangs.ts'
import { settle } from './settle.ts'

/** What a task holds does nothing: people are told, and it is stopped where its spec says so. */
export function idle(
  tx: Transaction,
  { task: id, attempt, idle_seconds }: Extract<Command, { type: 'task.idle' }>,
): void {
  const task = tx.need('tasks', id, 'task')
  if (task.attempt !== attempt || task.state !== 'Running')
    throw new ProblemError('stale_attempt', `attempt ${attempt} of ${id} does not run`)
  const what = task.gpus.length ? 'its GPUs do nothing' : 'it does nothing'
  const reason = { code: 'idle', message: `${what} since ${formatDuration(idle_seconds)}` }
  tx.event('task.idle', { kind: 'task', id }, `${id}: ${reason.message}`, reason)
  tx.put('tasks', id, { ...task, idle_seconds: Math.max(task.idle_seconds ?? 0, idle_seconds) })
  const bound = tx.get('experiments', task.workload)?.spec.idle_stop_seconds
  if (bound === undefined || idle_seconds < bound || task.evict) return
  const { grace_seconds } = workloadFor(tx, task)
  evictGang(tx, task, { cause: 'idle', reason, grace_seconds, then: 'stop' })
  settle(tx, task.workload)
}
