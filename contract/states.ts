import { z } from 'zod'

/** One life cycle for experiments and tasks (requirements E1). */
export const states = ['Accepted', 'Queued', 'Starting', 'Running', 'Succeeded', 'Failed', 'Stopped'] as const
export const State = z.enum(states).meta({ id: 'State' })
export type State = z.infer<typeof State>

/**
 * Legal transitions. A final state has none, so a late report cannot overwrite it.
 * Starting → Queued and Running → Queued begin a new attempt (a node refused, was lost, or was preempted).
 */
const transitions: Record<State, readonly State[]> = {
  Accepted: ['Queued', 'Starting', 'Failed', 'Stopped'],
  Queued: ['Starting', 'Failed', 'Stopped'],
  Starting: ['Running', 'Succeeded', 'Failed', 'Stopped', 'Queued'],
  Running: ['Succeeded', 'Failed', 'Stopped', 'Queued'],
  Succeeded: [],
  Failed: [],
  Stopped: [],
}

export const isFinal = (state: State): boolean => transitions[state].length === 0
export const isLegal = (from: State, to: State): boolean => transitions[from].includes(to)

/** Does the task hold its node's resources? From placement to the end. */
export const holdsResources = (state: State): boolean => state === 'Starting' || state === 'Running'

/** An experiment's state follows from its tasks': failed or stopped as soon as one is, succeeded when all are. */
export function experimentState(tasks: readonly State[]): State {
  if (tasks.some((s) => s === 'Failed') && tasks.every(isFinal)) return 'Failed'
  if (tasks.some((s) => s === 'Stopped') && tasks.every(isFinal)) return 'Stopped'
  if (tasks.length > 0 && tasks.every((s) => s === 'Succeeded')) return 'Succeeded'
  if (tasks.some((s) => s === 'Running' || (isFinal(s) && s === 'Succeeded'))) return 'Running'
  if (tasks.some((s) => s === 'Starting')) return 'Starting'
  return tasks.some((s) => s === 'Accepted') ? 'Accepted' : 'Queued'
}
