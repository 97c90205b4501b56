import type { Sharing } from './people.ts'

/** Who asks. It travels from the first line of a request into the log. */
export type Actor =
  | UserActor
  | { readonly kind: 'task'; readonly task: string; readonly workload: string; readonly attempt: number }
  | { readonly kind: 'node'; readonly node: string }
  | { readonly kind: 'system' }
  /** Reads the agents' metrics and nothing else. */
  | { readonly kind: 'monitor' }
  | { readonly kind: 'anonymous' }

export interface UserActor {
  readonly kind: 'user'
  readonly name: string
  readonly rank: Rank
  /** Their teams, and what they are in each. */
  readonly teams?: Readonly<Record<string, TeamRank>>
  /** Of the token it came with; absent: all that the person may. */
  readonly scopes?: readonly string[]
  /** Id of the token it came with. */
  readonly token?: string
  /** They signed in with a one-time password, and may only choose their own now. */
  readonly must_change?: boolean
}

export const ranks = ['admin', 'member', 'viewer'] as const
export type Rank = (typeof ranks)[number]
export const teamRanks = ['admin', 'member', 'viewer'] as const
export type TeamRank = (typeof teamRanks)[number]

/** What one may do with an object, each including those before it. */
export const levels = ['read', 'run', 'write', 'admin'] as const
export type Level = (typeof levels)[number]

/** Who besides the owner sees an object: `team`: its team reads and runs it. `everyone`: all who are signed in read it. */
export const visibilities = ['private', 'team', 'everyone'] as const
export type Visibility = (typeof visibilities)[number]

/** The object an action is asked for; absent for lists. */
export interface Asked {
  readonly owner?: string
  readonly team?: string | null
  readonly sharing?: Sharing | undefined
  readonly workload?: string
}

/**
 * What an action needs. `signed-in`: any person. `member`: a person who is more than a viewer. `team-admin`: an admin of the
 * team in question. `cluster-admin`: an admin of the cluster. A level: that much of the object; of none, only admins.
 */
type Need = 'signed-in' | 'member' | 'team-admin' | 'cluster-admin' | Level

/** Everything that can be permitted, and what it needs. */
const needs = {
  'self:read': 'signed-in',
  'cluster:read': 'signed-in',
  'cluster:admin': 'cluster-admin',
  'node:read': 'signed-in',
  'node:admin': 'cluster-admin',
  'monitoring:read': 'cluster-admin',
  'experiment:read': 'read',
  'experiment:create': 'member',
  'experiment:edit': 'write',
  'experiment:stop': 'write',
  'experiment:delete': 'admin',
  'experiment:share': 'admin',
  'log:read': 'read',
  'artifact:read': 'read',
  'metric:read': 'read',
  'metric:write': 'write',
  'event:read': 'read',
  'blob:create': 'member',
  'image:read': 'signed-in',
  'image:create': 'member',
  'image:delete': 'admin',
  'queue:read': 'signed-in',
  'queue:admin': 'cluster-admin',
  'quota:read': 'signed-in',
  'quota:admin': 'cluster-admin',
  'usage:read': 'signed-in',
  'user:read': 'signed-in',
  'user:admin': 'cluster-admin',
  'team:read': 'signed-in',
  'team:edit': 'team-admin',
  'team:admin': 'cluster-admin',
  'token:read': 'signed-in',
  'token:create': 'signed-in',
  'token:delete': 'signed-in',
  'secret:read': 'read',
  'secret:use': 'run',
  'secret:create': 'member',
  'secret:edit': 'admin',
  'policy:read': 'signed-in',
  'policy:admin': 'cluster-admin',
  'kerberos:read': 'signed-in',
  'kerberos:admin': 'cluster-admin',
  'audit:read': 'cluster-admin',
} as const satisfies Record<string, Need>

export type Action = keyof typeof needs
export const actions = Object.keys(needs) as [Action, ...Action[]]

/** A task may look at its own experiment and report to it; nothing else. */
const byTask: ReadonlySet<Action> = new Set([
  'experiment:read',
  'metric:read',
  'metric:write',
  'log:read',
  'artifact:read',
  'self:read',
])

/** All that somebody with a one-time password may do. */
const beforeChange: ReadonlySet<Action> = new Set(['self:read'])

/** The one evaluator of agent, CLI and console: may this actor do that, to this object if one is given? */
export function permits(actor: Actor, action: Action, asked?: Asked): boolean {
  switch (actor.kind) {
    case 'user':
      return inScope(actor, action) && satisfies(actor, needs[action], asked)
    case 'task':
      return byTask.has(action) && (action === 'self:read' || asked?.workload === actor.workload)
    case 'node':
    case 'system':
      return true
    case 'monitor':
      return action === 'monitoring:read'
    case 'anonymous':
      return false
  }
}

function inScope({ scopes, must_change }: UserActor, action: Action): boolean {
  if (must_change && !beforeChange.has(action)) return false
  return !scopes || action === 'self:read' || covers(scopes, action)
}

function covers(scopes: readonly string[], action: Action): boolean {
  const [kind, verb] = action.split(':')
  return scopes.some((scope) => {
    const [ofKind, ofVerb] = scope.split(':')
    return (ofKind === '*' || ofKind === kind) && (ofVerb === undefined || ofVerb === '*' || ofVerb === verb)
  })
}

/** Does the one set of scopes allow nothing that the other does not? */
export const scopesWithin = (inner: readonly string[], outer: readonly string[]): boolean =>
  actions.every((action) => !covers(inner, action) || covers(outer, action))

/** Patterns of actions: `*`, `experiment:*`, `*:read`, `experiment:create`. Is it one that means something? */
export function isScope(text: string): boolean {
  if (text === '*') return true
  const [kind, verb, ...rest] = text.split(':')
  if (verb === undefined || rest.length > 0) return false
  return actions.some((action) => {
    const [ofKind, ofVerb] = action.split(':')
    return (kind === '*' || kind === ofKind) && (verb === '*' || verb === ofVerb)
  })
}

function satisfies(actor: UserActor, need: Need, asked: Asked | undefined): boolean {
  switch (need) {
    case 'signed-in':
      return true
    case 'cluster-admin':
      return actor.rank === 'admin'
    case 'member':
      return actor.rank !== 'viewer' && mayActFor(actor, asked?.team)
    case 'team-admin':
      return actor.rank === 'admin' || teamRank(actor, asked?.team) === 'admin'
    default:
      return includes(levelOf(actor, asked ?? {}), need)
  }
}

/** Work that is charged to a team is made by its members alone. */
function mayActFor(actor: UserActor, team: string | null | undefined): boolean {
  if (team === undefined || team === null || actor.rank === 'admin') return true
  const rank = teamRank(actor, team)
  return rank === 'admin' || rank === 'member'
}

const teamRank = ({ teams }: UserActor, team: string | null | undefined): TeamRank | undefined =>
  team && teams && Object.hasOwn(teams, team) ? teams[team] : undefined

const rankOf = (level: Level | null): number => (level === null ? -1 : levels.indexOf(level))
const includes = (level: Level | null, needed: Level): boolean => rankOf(level) >= rankOf(needed)
const higher = (a: Level | null, b: Level | null): Level | null => (rankOf(a) >= rankOf(b) ? a : b)

/** The most that a person may do with an object; null when they may not even know of it. */
export function levelOf(actor: UserActor, { owner, team, sharing }: Asked): Level | null {
  if (actor.rank === 'admin') return 'admin'
  let level: Level | null = sharing?.visibility === 'everyone' ? 'read' : null
  if (owner !== undefined && owner === actor.name) level = 'admin'
  const inTeam = teamRank(actor, team)
  // Whoever answers for the team's quota can stop what uses it.
  if (inTeam === 'admin') level = 'admin'
  else if (inTeam && sharing?.visibility !== 'private')
    level = higher(level, inTeam === 'member' ? 'run' : 'read')
  for (const share of sharing?.shares ?? []) {
    const shared = sharedLevel(actor, share)
    level = higher(level, shared)
  }
  return actor.rank === 'viewer' && level !== null ? 'read' : level
}

function sharedLevel(actor: UserActor, share: Sharing['shares'][number]): Level | null {
  if (share.with === `user:${actor.name}`) return share.level
  if (!share.with.startsWith('team:')) return null
  const rank = teamRank(actor, share.with.slice('team:'.length))
  if (!rank) return null
  return rank === 'viewer' ? 'read' : share.level
}

/** How an actor is written in events and the audit log: `user:ana`, `task:exp-…-worker-0`, `node:node-2`. */
export function actorName(actor: Actor): string {
  if (actor.kind === 'user') return `user:${actor.name}`
  if (actor.kind === 'task') return `task:${actor.task}`
  return actor.kind === 'node' ? `node:${actor.node}` : actor.kind
}
