import type { Experiment, Task } from '../../../contract/objects.ts'
import { isFinal, type State, states } from '../../../contract/states.ts'

export const filters = ['all', 'open', 'Running', 'Queued', 'Succeeded', 'Failed', 'Stopped'] as const
export type Filter = (typeof filters)[number]

/** Anything typed into the address that is no filter shows all. */
export const filterOf = (text: string): Filter => filters.find((filter) => filter === text) ?? 'all'

/** Which states a filter shows: people think of what waits as queued, however far it got. */
const shownBy: Record<Filter, (state: State) => boolean> = {
  all: () => true,
  open: (state) => !isFinal(state),
  Running: (state) => state === 'Running' || state === 'Starting',
  Queued: (state) => state === 'Queued' || state === 'Accepted',
  Succeeded: (state) => state === 'Succeeded',
  Failed: (state) => state === 'Failed',
  Stopped: (state) => state === 'Stopped',
}

export const matches = (filter: Filter, state: State): boolean => shownBy[filter](state)

/** Experiments whose name, id, owner or tag contains every word of `text`. */
export function search(experiments: readonly Experiment[], text: string): readonly Experiment[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  if (!words.length) return experiments
  return experiments.filter(({ name, id, owner, spec }) => {
    const hay = [name, id, owner, ...spec.tags].join('\n').toLowerCase()
    return words.every((word) => hay.includes(word))
  })
}

export const stateOrder = (state: State): number => states.indexOf(state)

/** Ids of the nodes that run or ran it. */
export const nodesOf = (experiment: Experiment): string[] => [
  ...new Set(experiment.tasks.flatMap((task) => task.node ?? [])),
]

/** `worker-0`; the whole id when it is not made that way. */
export const taskName = (task: Task): string => `${task.role}-${task.index}`
