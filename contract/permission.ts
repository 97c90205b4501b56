/** Who asks. It travels from the first line of a request into the log. */
export type Actor =
  | { readonly kind: 'user'; readonly name: string; readonly rank: Rank }
  | { readonly kind: 'task'; readonly task: string; readonly workload: string; readonly attempt: number }
  | { readonly kind: 'node'; readonly node: string }
  | { readonly kind: 'system' }
  /** Reads the agents' metrics and nothing else. */
  | { readonly kind: 'monitor' }
  | { readonly kind: 'anonymous' }

export const ranks = ['admin'] as const
export type Rank = (typeof ranks)[number]

/** Everything that can be permitted: what an action does to which kind of object. */
export const actions = [
  'cluster:read', 'cluster:admin', 'node:read', 'node:admin',
  'experiment:read', 'experiment:create', 'experiment:edit', 'experiment:stop', 'experiment:delete',
  'log:read', 'artifact:read', 'metric:read', 'metric:write', 'event:read', 'blob:create', 'self:read',
  'monitoring:read',
  'image:read', 'image:create', 'image:delete',
  'queue:read', 'queue:admin', 'quota:read', 'quota:admin', 'usage:read',
] as const // prettier-ignore
export type Action = (typeof actions)[number]

/** The object an action is asked for; absent for lists and creation. */
export interface Asked {
  readonly owner?: string
  readonly workload?: string
}

const byRank: Record<Rank, readonly Action[]> = { admin: actions }
/** A task may look at its own experiment and report to it; nothing else. */
const byTask: readonly Action[] = [
  'experiment:read',
  'metric:read',
  'metric:write',
  'log:read',
  'artifact:read',
  'self:read',
]

/** The one evaluator of agent, CLI and console: may this actor do that to this object? */
export function permits(actor: Actor, action: Action, asked: Asked = {}): boolean {
  switch (actor.kind) {
    case 'user':
      return byRank[actor.rank].includes(action)
    case 'task':
      return byTask.includes(action) && (action === 'self:read' || asked.workload === actor.workload)
    case 'node':
    case 'system':
      return true
    case 'monitor':
      return action === 'monitoring:read'
    case 'anonymous':
      return false
  }
}

/** How an actor is written in events and the audit log: `user:ana`, `task:exp-…-worker-0`, `node:node-2`. */
export function actorName(actor: Actor): string {
  if (actor.kind === 'user') return `user:${actor.name}`
  if (actor.kind === 'task') return `task:${actor.task}`
  return actor.kind === 'node' ? `node:${actor.node}` : actor.kind
}
