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
    ...(task.array_index === undefined ? {} : { SUBMARINE_ARRAY_INDEX: String(task.array_index) }),
  }
}
