import type { Reason } from '../../contract/index.ts'
import type { Command, Placement } from '../cluster/commands.ts'
import type { State } from '../cluster/state.ts'
import { ClusterIndex, finish } from './cluster-index.ts'
import { Pass, type PassOptions } from './pass.ts'
import type { Hold } from './holds.ts'
import type { Eviction } from './overruns.ts'
import type { Surroundings } from './surroundings.ts'

export type { Surroundings } from './surroundings.ts'

export type Preemption = Omit<Extract<Command, { type: 'workload.preempt' }>, 'type'>

/** What the planner found; each part is proposed to the log and checked there again. */
export interface Plan {
  /** In the order in which they are to be proposed. */
  readonly place: readonly { readonly workload: string; readonly placements: readonly Placement[] }[]
  readonly wait: readonly { readonly workload: string; readonly reason: Reason }[]
  readonly preempt: readonly Preemption[]
  /** What has to leave the devices of a reservation that has begun. */
  readonly evict: readonly Eviction[]
  /** Room that is kept for those who could not be placed yet. */
  readonly holds: readonly Hold[]
}

/** Where what waits goes. Pure: the same state and surroundings give the same plan. */
export function plan(state: State, surroundings: Surroundings): Plan {
  return finish(planSteps(ClusterIndex.of(state), state, surroundings))
}

/**
 * The same in steps of well under a millisecond, on an index that follows the state and is left as it was found. It
 * must not change before the last step.
 */
export function* planSteps(
  index: ClusterIndex,
  state: State,
  surroundings: Surroundings,
  options: PassOptions = {},
): Generator<void, Plan, void> {
  const pass = new Pass(index, state, surroundings, options)
  try {
    return yield* pass.run()
  } finally {
    pass.undo()
  }
}
