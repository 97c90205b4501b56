import { type Action, type Actor, actorName, type Asked, type askedKinds, permits, ProblemError, type UserActor } from '../../contract/index.ts' // prettier-ignore
import type { Cluster } from '../cluster/cluster.ts'
import type { ExperimentRow, State, TaskRow } from '../cluster/state.ts'
import { sharingOf } from '../cluster/visibility.ts'
import { type Consistency, settled } from './context.ts'

/** Every service call begins here, so no door into the agent can forget to ask. */
export function demand(actor: Actor, action: Action, asked: Asked = {}): void {
  if (!permits(actor, action, asked)) throw refusal(actor, action)
}

function refusal(actor: Actor, action: Action): ProblemError {
  if (actor.kind === 'anonymous') return new ProblemError('unauthenticated')
  if (actor.kind === 'user' && actor.must_change)
    return new ProblemError('forbidden', 'your password is a one-time one', {
      hint: 'Choose one of your own first: `submarine passwd`, or in the console.',
    })
  if (actor.kind === 'user' && actor.scopes && permits(unscoped(actor), action, ownOf(actor)))
    return new ProblemError(
      'forbidden',
      `this token does not allow ${action}, only ${actor.scopes.join(', ')}`,
      {
        hint: 'Use a token of a wider scope, or sign in.',
      },
    )
  return new ProblemError('forbidden', `${actorName(actor)} has no permission for ${action}`)
}

/** For lists, which are filtered: may they do it with what is their own? */
export function demandOfOwn(actor: Actor, action: Action): void {
  demand(actor, action, ownOf(actor))
}

/** What is the actor's own. */
export function ownOf(actor: Actor): Asked {
  if (actor.kind === 'user') return { owner: actor.name }
  return actor.kind === 'task' ? { workload: actor.workload } : {}
}

/** The person behind a token, whatever it is for. */
const unscoped = ({ scopes: _, ...actor }: UserActor): Actor => actor

export const askedOf = (row: ExperimentRow): Asked => ({
  owner: row.owner,
  team: row.spec.team ?? null,
  sharing: sharingOf(row),
  workload: row.id,
})

export const mayRead = (actor: Actor, row: ExperimentRow): boolean =>
  permits(actor, 'experiment:read', askedOf(row))

/**
 * May they run something from these bytes, which they name by their digest alone? Whoever sent them may, and whoever reads
 * an experiment that runs from them.
 */
export function mayUseUpload(state: State, actor: Actor, sha256: string): boolean {
  const row = state.blobs.get(sha256)
  if (!row) return false
  if (row.uploaders?.includes(actorName(actor)) || (actor.kind === 'user' && actor.rank === 'admin'))
    return true
  return state.experiments.some((each) => each.spec.code?.upload === sha256 && mayRead(actor, each))
}

/** May they know of it at all? Then what their token does not allow is forbidden, not hidden. */
const mayKnow = (actor: Actor, row: ExperimentRow): boolean =>
  mayRead(actor.kind === 'user' ? unscoped(actor) : actor, row)

/** An object that somebody asks about: `submarine can-i experiment:stop experiment ID`. */
export interface AskedObject {
  readonly kind: (typeof askedKinds)[number]
  readonly id: string
}

/** Undefined: there is none. */
export function askedFor(state: State, { kind, id }: AskedObject): Asked | undefined {
  if (kind === 'team') return state.teams.has(id) ? { team: id } : undefined
  const row = state.experiments.get(id)
  return row && askedOf(row)
}

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
  checkPresent(actor)
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

/** Somebody who is nobody, or must first choose a password, is told so, whatever they ask for. */
function checkPresent(actor: Actor): void {
  if (actor.kind !== 'system' && actor.kind !== 'node') demand(actor, 'self:read')
  if (actor.kind === 'user' && actor.must_change) throw refusal(actor, 'experiment:read')
}

function lookUp(state: State, actor: Actor, ref: string): ExperimentRow[] {
  const byId = state.experiments.get(ref)
  if (byId) return mayKnow(actor, byId) ? [byId] : []
  return [...state.experiments.values()].filter((row) => row.name === ref && mayKnow(actor, row))
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
