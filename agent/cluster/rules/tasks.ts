import { isFinal, isLegal, ProblemError, type Reason } from '../../../contract/index.ts'
import type { Command, TaskReport } from '../commands.ts'
import type { TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { conclude } from './conclude.ts'
import { noteUse } from './images.ts'
import { settle, taskEvent } from './settle.ts'

/** A node tells what it sees of an attempt. Only forward: repeats and late reports change nothing. */
export function report(tx: Transaction, command: TaskReport): void {
  const task = tx.need('tasks', command.task, 'task')
  if (command.attempt < task.attempt)
    throw new ProblemError(
      'stale_attempt',
      `${task.id} is at attempt ${task.attempt}, the report is of ${command.attempt}`,
    )
  if (command.attempt === task.attempt && task.node === null && task.attempt > 0)
    throw new ProblemError('stale_attempt', `attempt ${task.attempt} of ${task.id} is over`)
  if (command.attempt > task.attempt || command.node !== task.node)
    throw new ProblemError(
      'conflict',
      `attempt ${command.attempt} of ${task.id} was not placed on ${command.node}`,
    )
  if (isFinal(task.state)) return
  const forward = command.state === task.state || isLegal(task.state, command.state)
  if (!forward) return
  const seen = merge(task, command)
  if (command.image_id !== undefined && command.image_id !== task.image_id) noteUse(tx, command.image_id)
  const { state, reason = null } = command
  if (state === 'Succeeded' || state === 'Failed' || state === 'Stopped')
    return conclude(tx, { ...seen, finished_at: command.finished_at ?? tx.at }, { state, reason })
  if (state !== task.state) taskEvent(tx, task, state, reason)
  else if (state === 'Running' && reason && reason.code !== task.reason?.code) troubled(tx, task, reason)
  tx.put('tasks', task.id, { ...seen, state, reason })
  settle(tx, task.workload)
}

/** It goes on, without something that it was given. */
function troubled(tx: Transaction, { id }: TaskRow, reason: Reason): void {
  tx.event('task.troubled', { kind: 'task', id }, `${id} runs on, but ${reason.message}`, reason)
}

function merge(task: TaskRow, command: TaskReport): TaskRow {
  return {
    ...task,
    token_sha256: command.token_sha256 ?? task.token_sha256,
    boot_id: command.boot_id ?? task.boot_id ?? null,
    exit_code: command.exit_code ?? task.exit_code,
    ...(command.image_id === undefined ? {} : { image_id: command.image_id }),
    started_at: command.started_at ?? task.started_at,
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
  const past = task.past?.findIndex((one) => one.attempt === attempt) ?? -1
  const of = past >= 0 ? task.past?.[past] : task.attempt === attempt ? task : undefined
  const kept = of?.[kind]
  if (!kept) throw new ProblemError('stale_attempt', `${id} is at attempt ${task.attempt}`)
  const more = holders.filter((node) => !kept.holders.includes(node))
  if (!more.length) return
  const copies = { [kind]: { ...kept, holders: [...kept.holders, ...more] } }
  if (past < 0) tx.put('tasks', id, { ...task, ...copies })
  else
    tx.put('tasks', id, {
      ...task,
      past: (task.past ?? []).map((one, at) => (at === past ? { ...one, ...copies } : one)),
    })
}
