import { isFinal, isLegal, ProblemError } from '../../../contract/index.ts'
import type { Command, TaskReport } from '../commands.ts'
import type { TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { settle, taskEvent } from './settle.ts'

/** A node tells what it sees of an attempt. Only forward: repeats and late reports change nothing. */
export function report(tx: Transaction, command: TaskReport): void {
  const task = tx.need('tasks', command.task, 'task')
  if (command.attempt < task.attempt)
    throw new ProblemError(
      'stale_attempt',
      `${task.id} is at attempt ${task.attempt}, the report is of ${command.attempt}`,
    )
  if (command.attempt > task.attempt || command.node !== task.node)
    throw new ProblemError(
      'conflict',
      `attempt ${command.attempt} of ${task.id} was not placed on ${command.node}`,
    )
  if (isFinal(task.state)) return
  const forward = command.state === task.state || isLegal(task.state, command.state)
  if (!forward) return
  const next = merge(tx, task, command)
  if (command.state !== task.state) taskEvent(tx, next, command.state, next.reason)
  tx.put('tasks', task.id, next)
  settle(tx, task.workload)
}

function merge(tx: Transaction, task: TaskRow, command: TaskReport): TaskRow {
  const final = isFinal(command.state)
  return {
    ...task,
    state: command.state,
    reason: command.reason ?? null,
    token_sha256: final ? null : (command.token_sha256 ?? task.token_sha256),
    exit_code: command.exit_code ?? task.exit_code,
    started_at: command.started_at ?? task.started_at,
    finished_at: final ? (command.finished_at ?? tx.at) : null,
    artifacts: command.artifacts ?? task.artifacts,
    log: command.log ?? task.log,
    metrics: command.metrics ?? task.metrics,
  }
}

/** A further node holds what a finished attempt left. */
export function copied(
  tx: Transaction,
  { task: id, attempt, kind, holders }: Extract<Command, { type: 'task.copied' }>,
): void {
  const task = tx.need('tasks', id, 'task')
  const kept = task[kind]
  if (task.attempt !== attempt || !kept)
    throw new ProblemError('stale_attempt', `${id} is at attempt ${task.attempt}`)
  const more = holders.filter((node) => !kept.holders.includes(node))
  if (more.length) tx.put('tasks', id, { ...task, [kind]: { ...kept, holders: [...kept.holders, ...more] } })
}
