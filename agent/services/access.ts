import {
  type Action,
  type Actor,
  actorName,
  type Asked,
  permits,
  ProblemError,
} from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { ExperimentRow, State, TaskRow } from '../cluster/state.ts'
import { type Consistency, settled } from './context.ts'

/** Every service call begins here, so no door into the agent can forget to ask. */
export function demand(actor: Actor, action: Action, asked: Asked = {}): void {
  if (permits(actor, action, asked)) return
  if (actor.kind === 'anonymous') throw new ProblemError('unauthenticated')
  throw new ProblemError('forbidden', `${actorName(actor)} has no permission for ${action}`)
}

export const askedOf = (row: ExperimentRow): Asked => ({ owner: row.owner, workload: row.id })

export const mayRead = (actor: Actor, row: ExperimentRow): boolean =>
  permits(actor, 'experiment:read', askedOf(row))

/**
 * The experiment an id or a unique name means. Who may not know it gets the same `not_found` as for none.
 * Without `local` a miss is looked up once more after a barrier: it may have been made through another agent just now.
 */
export async function experimentFor(
  cluster: Cluster,
  actor: Actor,
  action: Action,
  ref: string,
  consistency: Consistency = 'strong',
): Promise<ExperimentRow> {
  if (actor.kind === 'anonymous') throw new ProblemError('unauthenticated')
  const first = lookUp(cluster.state(), actor, ref)
  if (!first.length) await settled(cluster, consistency)
  const found = first.length ? first : lookUp(cluster.state(), actor, ref)
  const [row] = found
  if (!row) throw new ProblemError('not_found', `there is no experiment ${ref}`)
  if (found.length > 1)
    throw new ProblemError('not_found', `${found.length} experiments are named ${ref}`, {
      hint: `Give an id: ${found
        .slice(0, 5)
        .map((each) => each.id)
        .join(', ')}`,
    })
  demand(actor, action, askedOf(row))
  return row
}

function lookUp(state: State, actor: Actor, ref: string): ExperimentRow[] {
  const byId = state.experiments.get(ref)
  if (byId) return mayRead(actor, byId) ? [byId] : []
  return [...state.experiments.values()].filter((row) => row.name === ref && mayRead(actor, row))
}

/** Tasks of the experiment, in rank order. */
export function tasksOf(state: State, experiment: ExperimentRow): TaskRow[] {
  return experiment.tasks.flatMap((id) => state.tasks.get(id) ?? [])
}

/** The task an id, or `role-index` within the experiment, means. */
export function taskOf(state: State, experiment: ExperimentRow, ref: string): TaskRow {
  const found = tasksOf(state, experiment).find((row) => row.id === ref || `${row.role}-${row.index}` === ref)
  if (!found) throw new ProblemError('not_found', `${experiment.name} has no task ${ref}`)
  return found
}

/** Where a task's kept files may be: on the node that ran it, on known holders, then anywhere. */
export function nodesToAsk(state: State, task: Pick<TaskRow, 'node'>, holders: readonly string[]): string[] {
  return [...new Set([...(task.node ? [task.node] : []), ...holders, ...state.nodes.keys()])]
}
