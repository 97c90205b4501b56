import { layerOf, savedArchive } from '../../../agent/services/testing/image-archives.ts'
import { LdapSettings } from '../../../contract/identity.ts'
import type { routes } from '../../../contract/routes.ts'
import type { Object } from './people.ts'

export type RouteName = keyof typeof routes

export interface Call {
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** Instead of a body of JSON. */
  readonly bytes?: Uint8Array
}

/** An image as `docker save` writes it. */
export const archive = savedArchive([{ layers: [layerOf('tool')], names: ['lab/tool:v1'] }])
/** Nobody answers there. */
export const directory = LdapSettings.parse({
  kind: 'ldap',
  urls: ['ldap://127.0.0.1:1'],
  user_base: 'dc=lab',
})
const spec = {
  name: 'x',
  command: 'true',
  environment: { image: 'busybox' },
  resources: 'cpu=1, memory=64Mi',
}

/** A request that whoever may make it makes without a fault in it, by route; `object` is the experiment in question. */
export const calls: Partial<Record<RouteName, (object: Object) => Call>> = {
  'session.create': () => ({ body: { user: 'ana', password: 'ana' } }),
  'cluster.join': () => ({ body: { secret: 'none', request: 'PEM', name: 'host-9', address: '10.0.0.9:7460' } }),
  'cluster.backup': () => ({ body: { key: 'k'.repeat(43), kdf: { name: 'argon2id', salt: 's'.repeat(22), memory: 65_536, passes: 3, parallelism: 1 } } }),
  'nodes.edit': () => ({ body: { labels: { zone: 'a' } } }),
  'nodes.cordon': () => ({ body: { reason: 'new fans' } }),
  'nodes.drain': () => ({ body: {} }),
  'nodes.reboot_notice': () => ({ body: {} }),
  'experiments.create': () => ({ body: spec }),
  'experiments.edit': () => ({ body: { description: 'mine' } }),
  'experiments.log_metrics': (object) => ({ body: { points: [{ key: 'loss', value: 1, step: 1 }], task: `${object}-worker-1` } }),
  'experiments.artifact': () => ({ params: { path: 'model.bin' } }),
  'blobs.create': () => ({ bytes: Buffer.from('print(1)') }),
  'images.import': () => ({ bytes: archive }),
  'images.pull': () => ({ body: { image: 'busybox' } }),
  'images.evict': () => ({ body: { image: 'busybox' } }),
  'imagePolicy.set': () => ({ body: { engine_unused_seconds: null, cluster_unused_seconds: null } }),
  'identityProviders.put': () => ({ body: { settings: directory } }),
  'identityProviders.check': () => ({ body: {} }),
  'signIn.poll': () => ({ body: { handle: 'none' } }),
  'registries.add': () => ({ body: { host: 'registry.example', user: 'u', password: 'p' } }),
  'queues.put': () => ({ body: {} }),
  'quotas.put': () => ({ params: { subject: 'user:mia' }, body: {} }),
  'quotas.delete': () => ({ params: { subject: 'user:ana' } }),
  'images.remove': () => ({ params: { image: 'lab/tool:v1' } }),
  'reservations.create': () => ({
    body: { name: 'course', holders: ['user:ana'], nodes: ['host-2'], starts_at: '2026-03-02T08:00:00.000Z', ends_at: '2026-03-02T18:00:00.000Z' },
  }),
  'prices.put': () => ({ body: {} }),
  'users.create': () => ({ body: { name: 'noor' } }),
  'users.edit': () => ({ body: { display_name: 'Ana' } }),
  'me.set_password': () => ({ body: { old: 'wrong', new: 'correct horse battery' } }),
  'teams.put': () => ({ body: { description: 'biologists' } }),
  'teams.set_member': () => ({ params: { user: 'otto' }, body: { rank: 'member' } }),
  'teams.remove_member': () => ({ params: { user: 'mia' } }),
  'tokens.create': () => ({ body: { name: 'laptop' } }),
  'experiments.share': () => ({ body: { visibility: 'everyone' } }),
  'secrets.put': () => ({ body: { value: 'other' } }),
  'secrets.share': () => ({ body: { visibility: 'private' } }),
  'policy.set': () => ({ body: { root: ['team:bio'] } }),
  'kerberos.set': () => ({ body: { realms: [{ realm: 'LAB.EXAMPLE', kdcs: ['kdc.lab.example'] }] } }),
  'watch': () => ({ query: { kinds: 'experiment' } }),
  'auth.can_i': () => ({ body: { action: 'experiment:read' } }),
} // prettier-ignore

/** What stands for a parameter of a path where a call does not say. */
export const usual = (object: Object): Readonly<Record<string, string>> => ({
  experiment: object,
  node: 'host-2',
  image: 'lab/tool:v1',
  host: 'registry.example',
  queue: 'night',
  subject: 'user:ana',
  reservation: 'res-1',
  secret: 'ana/s3',
  user: 'ana',
  team: 'bio',
  token: 'tok-narrow',
  task: 'worker-0',
  provider: 'lab',
})
