import { createHash, randomBytes } from 'node:crypto'
import type { ExperimentRow, TaskRow } from '../../cluster/state.ts'

/** With which a task's attempt calls the API, and nothing else may. */
export function newToken(): string {
  return `task-${randomBytes(32).toString('base64url')}`
}

export function tokenDigest(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

/** What every task finds in its environment, besides what its experiment gives it. */
export function taskEnvironment(
  task: TaskRow,
  experiment: ExperimentRow,
  api: { readonly url: string; readonly token: string },
): Record<string, string> {
  return {
    ...experiment.spec.roles[task.role]?.env,
    SUBMARINE_API: api.url,
    SUBMARINE_TOKEN: api.token,
    SUBMARINE_EXPERIMENT_ID: experiment.id,
    SUBMARINE_TASK: task.id,
    SUBMARINE_ROLE: task.role,
    SUBMARINE_INDEX: String(task.index),
    SUBMARINE_ATTEMPT: String(task.attempt),
    ...arrayEnvironment(task, experiment),
  }
}

/** Which part of the work is its own, for a task of an array. */
function arrayEnvironment({ array_index }: TaskRow, { spec }: ExperimentRow): Record<string, string> {
  if (array_index === undefined || !spec.array) return {}
  return {
    SUBMARINE_ARRAY_INDEX: String(array_index),
    SUBMARINE_ARRAY_COUNT: String(spec.array.indices.length),
  }
}
