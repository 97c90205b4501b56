import type { ExperimentSpec } from '../../contract/index.ts'
import type { TaskRow } from './state.ts'

type SpecTask = Pick<TaskRow, 'role' | 'index' | 'resources' | 'gpu' | 'array_index'>

/** The tasks a spec makes, in rank order; those of an array carry their index in it as their own. */
export function tasksOfSpec({ roles, array }: Pick<ExperimentSpec, 'roles' | 'array'>): SpecTask[] {
  return Object.entries(roles).flatMap(([role, { replicas, resources, gpu }]) => {
    const indices = array?.indices ?? Array.from({ length: replicas }, (_, index) => index)
    return indices.map((index) => ({
      role,
      index,
      resources,
      ...(gpu ? { gpu } : {}),
      ...(array ? { array_index: index } : {}),
    }))
  })
}
