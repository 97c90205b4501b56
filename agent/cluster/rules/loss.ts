import { holdsResources, ProblemError, type Reason } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { finish } from './attempts.ts'
import { conclude, requeueGang, retryOrFail } from './conclude.ts'
import { workloadFor } from './gangs.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

/** Something that takes its node down each time must not go through the whole cluster. */
const mostLosses = 5
const lossCodes: ReadonlySet<string> = new Set(['node_lost', 'node_rebooted', 'node_down', 'node_removed'])

export function taskLost(tx: Transaction, command: Of<'task.lost'>): void {
  const task = tx.need('tasks', command.task, 'task')
  if (command.attempt !== task.attempt || !holdsResources(task.state))
    throw new ProblemError('stale_attempt', `attempt ${command.attempt} of ${task.id} is over`)
  if (command.unstarted && hasBegun(task))
    throw new ProblemError('conflict', `${task.id} has begun on its node meanwhile`)
  lose(tx, task, command.reason)
}

/** A node says so through the log before it starts anything, so what it did not announce it never started. */
export const hasBegun = (task: TaskRow): boolean => task.state !== 'Starting' || task.token_sha256 !== null

/** An attempt ends without its node's word. Its own reports come too late from here on. */
export function lose(tx: Transaction, task: TaskRow, reason: Reason): void {
  const workload = workloadFor(tx, task)
  tx.event('task.lost', { kind: 'task', id: task.id }, `${task.id} is lost: ${reason.message}`, reason)
  if (workload.stop_requested) return finish(tx, task, { state: 'Stopped', reason })
  if (task.evict) return conclude(tx, task, { state: 'Failed', reason })
  if (!hasBegun(task)) return requeueGang(tx, task, reason)
  if (workload.loss_policy.kind === 'hold') return retryOrFail(tx, task, workload, reason)
  const losses = (task.past ?? []).filter((past) => lossCodes.has(past.reason?.code ?? '')).length + 1
  if (losses < mostLosses) return requeueGang(tx, task, reason)
  const message = `${reason.message}; it lost its node ${losses} times`
  finish(tx, task, { state: 'Failed', reason: { ...reason, message } })
}

/** Whatever began in an earlier boot of its host does not run any more, and nobody will report it. */
export function loseEarlierBoots(tx: Transaction, node: { id: string; name: string }, boot: string): void {
  const reason: Reason = { code: 'node_rebooted', message: `${node.name} was restarted while it ran there` }
  for (const task of heldOn(tx, node.id))
    if (hasBegun(task) && task.boot_id != null && task.boot_id !== boot) lose(tx, task, reason)
}

/** Everything placed on a node is lost. */
export function loseAllOn(tx: Transaction, node: string, reason: Reason): number {
  let count = 0
  for (const task of heldOn(tx, node)) {
    lose(tx, task, reason)
    count++
  }
  return count
}

/** Tasks that a node holds, each as it is when its turn comes. */
function* heldOn(tx: Transaction, node: string): Generator<TaskRow> {
  for (const { id, node: at } of tx.state.tasks.values()) {
    const task = at === node ? tx.get('tasks', id) : undefined
    if (task && task.node === node && holdsResources(task.state)) yield task
  }
}
