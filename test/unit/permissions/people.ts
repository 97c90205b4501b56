import { Readable } from 'node:stream'
import { type Served, serve } from '../../../agent/http/testing/served.ts'

import { admin } from '../../../agent/services/testing/world.ts'
import { archive, directory } from './calls.ts'

/** Who calls, in the order of the columns of `expected.ts`. */
export const callers = [
  'anonymous',
  'expired token',
  'viewer',
  'member of another team',
  'member',
  'owner',
  'team admin',
  'admin',
  'token of narrower scope',
  'task token',
] as const
export type Caller = (typeof callers)[number]

/** Whose experiments are asked for: ana's own, ana's for her team, another team's, and one that everyone may see. */
export const objects = ['own', 'team', 'other', 'shared'] as const
export type Object = (typeof objects)[number]

export interface Scene {
  readonly served: Served
  /** The bearer token of each; undefined: none. */
  readonly tokens: Readonly<Record<Caller, string | undefined>>
  /** A task of each experiment. */
  readonly tasks: Readonly<Record<Object, string>>
}

/**
 * A cluster in which ana (owner), mia (member), tess (team admin) and vic (viewer) are in the team bio, and otto is in nlp.
 * Every experiment is named as its kind.
 */
export async function openScene(): Promise<Scene> {
  const served = await serve({ nodes: 2 })
  const { world } = served
  for (const name of ['ana', 'mia', 'tess', 'otto']) world.addUser(name)
  world.addUser('vic', 'viewer')
  world.addTeam('bio', { ana: 'member', mia: 'member', tess: 'admin', vic: 'viewer' })
  world.addTeam('nlp', { otto: 'member' })
  const tasks = {
    own: first(world.submit('own', { owner: 'ana', replicas: 2 })),
    team: first(world.submit('team', { owner: 'ana', team: 'bio', replicas: 2 })),
    other: first(world.submit('other', { owner: 'otto', team: 'nlp', replicas: 2 })),
    shared: first(
      world.submit('shared', { owner: 'otto', replicas: 2, sharing: { visibility: 'everyone', shares: [] } }),
    ),
  }
  world.log.propose({ type: 'quota.put', subject: 'user:ana', change: {} }, { kind: 'system' })
  world.log.propose({ type: 'quota.put', subject: 'team:nlp', change: {} }, { kind: 'system' })
  world.log.propose({ type: 'queue.put', name: 'night', change: {} }, { kind: 'system' })
  world.log.propose({ type: 'identityProvider.put', name: 'lab', settings: directory }, { kind: 'system' })
  await served.services.secrets.put({ kind: 'user', name: 'ana', rank: 'member' }, 's3', {
    value: 'key',
    encoding: 'text',
  })
  await served.services.registries.add(admin, { host: 'registry.example', insecure: false })
  await served.services.order.reserve(admin, {
    name: 'res-1',
    holders: ['user:ana'],
    nodes: ['host-2'],
    starts_at: '2026-03-02T08:00:00.000Z',
    ends_at: '2026-03-02T18:00:00.000Z',
    over_running: false,
  })
  await served.services.images.import(admin, Readable.from([archive]), {})
  // Of each the second task runs, and the first has left a file.
  const artifacts = world.keep({ 'model.bin': 'weights' })
  const running = objects.map((id) => world.run(id)[1])
  for (const task of Object.values(tasks)) world.finish(task, { artifacts })
  const expired = world.apiToken('ana', { id: 'tok-old', hours: -1 })
  return {
    served,
    tasks,
    tokens: {
      anonymous: undefined,
      'expired token': expired,
      viewer: world.signIn('vic'),
      'member of another team': world.signIn('otto'),
      member: world.signIn('mia'),
      owner: world.signIn('ana'),
      'team admin': world.signIn('tess'),
      admin: world.signIn(),
      'token of narrower scope': world.apiToken('ana', { id: 'tok-narrow', scopes: ['node:read'] }),
      'task token': running[0],
    },
  }
}

function first(all: readonly string[]): string {
  const [one] = all
  if (one === undefined) throw new Error('expected one at least')
  return one
}
