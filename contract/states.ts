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

/**
 * A workload's state follows from its tasks': when all have ended it is failed or stopped as soon as one is. One whose
 * tasks end each for itself runs from its first end to its last.
 */
export function experimentState(tasks: readonly State[], each = false): State {
  if (tasks.length > 0 && tasks.every(isFinal)) {
    if (tasks.includes('Failed')) return 'Failed'
    return tasks.includes('Stopped') ? 'Stopped' : 'Succeeded'
  }
  if (tasks.some((s) => s === 'Running' || s === 'Succeeded' || (each && isFinal(s)))) return 'Running'
  if (tasks.includes('Starting')) return 'Starting'
  return tasks.every((s) => s === 'Accepted' || isFinal(s)) ? 'Accepted' : 'Queued'
}
