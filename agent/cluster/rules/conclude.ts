import { formatDuration, type Reason } from '../../../contract/index.ts'
import type { TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import type { Workload } from '../workloads.ts'
import { type End, finish, requeue } from './attempts.ts'
import { evictPeers } from './eviction.ts'
import { peersOf, workloadFor } from './gangs.ts'

/** A next attempt would end the same way. */
const hopeless = new Set(['timeout', 'code_invalid', 'idle'])

/** What becomes of a task whose attempt ended so: it is over, or it waits for the next attempt with its gang. */
export function conclude(tx: Transaction, task: TaskRow, end: End): void {
  const workload = workloadFor(tx, task)
  if (end.state === 'Succeeded' || workload.stop_requested) return finish(tx, task, end)
  const { evict } = task
  if (evict?.then === 'queue') return requeue(tx, task, evict.reason)
  if (evict?.then === 'stop') return finish(tx, task, { state: 'Stopped', reason: evict.reason })
  if (evict) return retryOrFail(tx, task, workload, evict.reason)
  // It stopped itself, so that it may start elsewhere: that is no failure of its own.
  if (end.reason?.code === 'lease_expired') return requeueGang(tx, task, end.reason)
  if (end.state === 'Failed') return retryOrFail(tx, task, workload, end.reason ?? unexplained)
  finish(tx, task, end)
}

const unexplained: Reason = { code: 'failed', message: 'it failed without saying why' }

/** One failure of a gang is one failure: its other tasks are stopped and wait for the same next attempt. */
export function retryOrFail(tx: Transaction, task: TaskRow, workload: Workload, reason: Reason): void {
  const { limit, backoff_seconds, max_backoff_seconds } = workload.retries
  const before = task.retried ?? 0
  if (before >= limit || hopeless.has(reason.code)) return finish(tx, task, { state: 'Failed', reason })
  const pause = Math.min(backoff_seconds * 2 ** before, Math.max(backoff_seconds, max_backoff_seconds))
  const not_before = new Date(Date.parse(tx.at) + pause * 1000).toISOString()
  const retried = before + 1
  const again = `tried again${pause ? ` in ${formatDuration(pause)}` : ''}, ${retried} of ${limit}`
  requeueGang(tx, { ...task, retried, not_before }, {
    code: 'retry',
    message: `${trimmed(reason.message)}; ${again}`,
  }) // prettier-ignore
}

const trimmed = (sentence: string) => sentence.replace(/[.\s]+$/, '')

/** The rest of its gang leaves too, and waits as long. */
export function requeueGang(tx: Transaction, task: TaskRow, reason: Reason): void {
  for (const peer of peersOf(tx, task))
    if (peer.state !== 'Succeeded')
      tx.put('tasks', peer.id, {
        ...peer,
        ...(task.retried === undefined ? {} : { retried: task.retried }),
        not_before: task.not_before ?? null,
      })
  const { grace_seconds } = workloadFor(tx, task)
  const why: Reason = { code: 'peer_retried', message: `${task.id} ended: ${reason.message}` }
  evictPeers(tx, task, { cause: 'retry', reason: why, grace_seconds, then: 'queue' })
  requeue(tx, task, reason)
}
