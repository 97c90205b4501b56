import {
  experimentState,
  holdsResources,
  isFinal,
  isLegal,
  type Reason,
  type State,
} from '../../../contract/index.ts'
import type { ExperimentRow, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'

/** The experiment follows its tasks; when one of a gang fails, the rest is stopped. Tasks of an array are on their own. */
export function settle(tx: Transaction, id: string): void {
  const experiment = tx.need('experiments', id, 'experiment')
  const tasks = tasksOf(tx, experiment)
  const failed = tasks.find((task) => task.state === 'Failed')
  const alone = experiment.spec.array !== undefined
  if (failed && !alone && !experiment.stop_requested && !tasks.every((task) => isFinal(task.state)))
    return requestStop(tx, experiment, {
      code: 'peer_failed',
      message: `${failed.id} failed: ${failed.reason?.message ?? ''}`,
    })
  follow(tx, id)
}

/** Bring the experiment's row to what its tasks are now. */
export function follow(tx: Transaction, id: string): void {
  const experiment = tx.need('experiments', id, 'experiment')
  const tasks = tasksOf(tx, experiment)
  const states = tasks.map((task) => task.state)
  const seen = experimentState(states, experiment.spec.array !== undefined)
  // Of some that ran, one that starts anew does not take the others back.
  const state = seen === experiment.state || isLegal(experiment.state, seen) ? seen : experiment.state
  const ended = isFinal(state)
  const next = {
    ...experiment,
    state,
    reason: ended ? causeOf(tasks) : waitingFor(state, experiment, tasks),
    started_at: experiment.started_at ?? earliest(tasks.map((task) => task.started_at)),
    // When it ended, not when it was told: its host may have been away in between.
    finished_at: ended ? (latest(tasks.map((task) => task.finished_at)) ?? tx.at) : null,
    ...(ended && experiment.nominated ? { nominated: null } : {}),
  }
  // Every change of a task is a change of the experiment that shows it, so its version moves too.
  tx.put('experiments', id, next)
  if (state !== experiment.state) experimentEvent(tx, next, state)
}

function waitingFor(state: State, experiment: ExperimentRow, tasks: readonly TaskRow[]): Reason | null {
  if (state !== 'Queued' && state !== 'Accepted') return null
  return experiment.reason ?? tasks.find((task) => task.state === 'Queued')?.reason ?? null
}

function causeOf(tasks: readonly TaskRow[]): Reason | null {
  const failed = tasks.filter((task) => task.state === 'Failed')
  const [first] = failed.length ? failed : tasks.filter((task) => task.state === 'Stopped')
  if (failed.length < 2 || !first) return first?.reason ?? null
  const message = `${failed.length} of its ${tasks.length} tasks failed; ${first.id}: ${first.reason?.message ?? ''}`
  return { code: first.reason?.code ?? 'failed', message }
}

const earliest = (times: readonly (string | null)[]) =>
  times.filter((time) => time !== null).toSorted()[0] ?? null

const latest = (times: readonly (string | null)[]) =>
  times
    .filter((time) => time !== null)
    .toSorted()
    .at(-1) ?? null

function experimentEvent(
  tx: Transaction,
  experiment: Omit<ExperimentRow, 'resource_version'>,
  state: State,
): void {
  const why = experiment.reason ? `: ${experiment.reason.message}` : ''
  const subject = { kind: 'experiment', id: experiment.id } as const
  tx.event(
    `experiment.${state.toLowerCase()}`,
    subject,
    `${experiment.name} is ${state}${why}`,
    experiment.reason,
  )
}

export function taskEvent(
  tx: Transaction,
  task: Pick<TaskRow, 'id'>,
  state: State,
  reason: Reason | null,
): void {
  const why = reason ? `: ${reason.message}` : ''
  tx.event(
    `task.${state.toLowerCase()}`,
    { kind: 'task', id: task.id },
    `${task.id} is ${state}${why}`,
    reason,
  )
}

/** Tasks not placed yet end here; the nodes see `stop_requested` and end the others. */
export function requestStop(tx: Transaction, experiment: ExperimentRow, reason: Reason): void {
  tx.put('experiments', experiment.id, { ...experiment, stop_requested: true })
  for (const task of tasksOf(tx, experiment)) {
    if (isFinal(task.state) || holdsResources(task.state)) continue
    tx.put('tasks', task.id, { ...task, state: 'Stopped', reason, finished_at: tx.at })
    taskEvent(tx, task, 'Stopped', reason)
  }
  settle(tx, experiment.id)
}

/** The version an experiment is shown with: it shows its tasks, so it is as new as the newest of them. */
export function experimentVersion(row: ExperimentRow, tasks: readonly TaskRow[]): number {
  return tasks.reduce((newest, task) => Math.max(newest, task.resource_version), row.resource_version)
}

export function tasksOf(tx: Transaction, experiment: ExperimentRow): TaskRow[] {
  return experiment.tasks.map((id) => tx.need('tasks', id, 'task'))
}
