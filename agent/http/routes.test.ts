import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Access,
  LdapSettings,
  permits,
  problemOf,
  type Route,
  type RouteId,
  routes,
  urlOf,
} from '../../contract/index.ts'
import { layerOf, savedArchive } from '../services/testing/image-archives.ts'
import { admin } from '../services/testing/world.ts'
import { fetch2, serve, type Served } from './testing/served.ts'

let served: Served
let userToken: string
let taskToken: string
let taskId: string

beforeAll(async () => {
  served = await serve()
  const { world } = served
  userToken = world.signIn()
  taskId = world.submit('exp-own')[0] ?? ''
  world.submit('exp-other')
  taskToken = world.run('exp-own')[0] ?? ''
  const done = world.submit('exp-done')[0] ?? ''
  world.run('exp-done')
  world.finish(done, { artifacts: world.keep({ 'model.json': '{}' }) })
  world.addUser('bea')
  world.addUser('gone')
  for (const name of ['s3', 'old'])
    await served.services.secrets.put(admin, name, { value: 'hunter2', encoding: 'text' })
  world.addTeam('vision')
  world.addTeam('old')
  world.apiToken('admin', { id: 'tok-1' })
  for (const name of ['lab', 'former'])
    world.log.propose({ type: 'identityProvider.put', name, settings: directory }, { kind: 'system' })
})
afterAll(() => served.close())

const all = Object.entries<Route>(routes) as [RouteId, Route][]

const image = new Uint8Array(savedArchive([{ layers: [layerOf('x')], names: ['tool:v1', 'tool:latest'] }]))

/** Nobody answers there, at once. */
const directory = LdapSettings.parse({ kind: 'ldap', urls: ['ldap://127.0.0.1:1'], user_base: 'dc=lab' })

/** A well-formed request to every route, at objects that exist. */
const bodies: Partial<Record<RouteId, unknown>> = {
  'session.create': { user: 'admin', password: 'wrong' },
  'cluster.join': { secret: 's', request: 'PEM', name: 'host-9', address: '10.0.0.9:7460' },
  'cluster.backup': {
    key: 'A'.repeat(43),
    kdf: { name: 'argon2id', salt: 'A'.repeat(22), memory: 8192, passes: 1, parallelism: 1 },
  },
  'experiments.create': { name: 'x', command: 'true' },
  'experiments.edit': { description: 'as sent', tags: { seed: '7', gone: null } },
  'experiments.log_metrics': { points: [{ key: 'loss', value: 1 }] },
  'nodes.edit': { labels: { zone: 'a' } },
  'nodes.cordon': { reason: 'fans' },
  'nodes.drain': { deadline_seconds: 3600 },
  'nodes.reboot_notice': { deadline_seconds: 60, grace_seconds: 5 },
  'auth.can_i': { action: 'node:read' },
  'users.create': { name: 'cleo', rank: 'viewer' },
  'users.edit': { display_name: 'Bea', rank: 'admin' },
  'me.set_password': { old: 'not this one', new: 'a long new one' },
  'teams.put': { description: 'sees', groups: ['cn=vision'] },
  'teams.set_member': { rank: 'viewer' },
  'tokens.create': { name: 'ci', scopes: ['experiment:*'] },
  'experiments.share': { visibility: 'everyone', shares: [{ with: 'user:bea', level: 'run' }] },
  'queues.put': { max_runtime: '12h', priority: 'low' },
  'quotas.put': { limits: { gpu: 4, memory: '64Gi' }, guaranteed_gpu: 2 },
  'reservations.create': {
    name: 'course',
    holders: ['team:ml'],
    nodes: ['host-3'],
    starts_at: '2030-01-01T00:00:00Z',
    ends_at: '2030-01-02T00:00:00Z',
  },
  'prices.put': { gpu: 1.5 },
  'secrets.put': { value: 'hunter2', kind: 's3' },
  'secrets.share': { visibility: 'private', shares: [{ with: 'user:bea', level: 'run' }] },
  'policy.set': { mounts: [{ path: '/data', for: ['team:ml'] }], root: ['user:ana'] },
  'kerberos.set': {
    realms: [{ realm: 'LAB.EXAMPLE', kdcs: ['kdc.lab.example:88'], domains: ['.lab.example'] }],
  },
  'images.pull': { image: 'tool:v1' },
  'images.evict': { image: 'tool:v1', nodes: ['node-1'] },
  'imagePolicy.set': { engine_unused_seconds: 86_400, cluster_unused_seconds: null },
  'identityProviders.put': { settings: directory },
  'identityProviders.check': {},
  'signIn.poll': { handle: 'x' },
  'registries.add': { host: 'registry.lab:5000', user: 'ana', password: 'secret' },
}
function requestTo(id: RouteId, route: Route, experiment: string): [string, RequestInit] {
  const params = {
    experiment, node: 'node-1', task: `${experiment}-worker-0`, path: 'model.json',
    image: 'tool:v1', host: 'registry.lab:5000', queue: 'nightly', subject: 'user:ana', reservation: 'course',
    user: id === 'users.delete' ? 'gone' : 'bea', team: id === 'teams.delete' ? 'old' : 'vision', token: 'tok-1',
    secret: id === 'secrets.delete' ? 'old' : 's3',
    provider: id === 'identityProviders.delete' ? 'former' : 'lab',
  } // prettier-ignore
  const bytes = id === 'images.import' ? image : 'bytes'
  const body = route.upload ? bytes : bodies[id] === undefined ? undefined : JSON.stringify(bodies[id])
  return [
    urlOf(route, { params, query: id === 'experiments.create' ? { dry_run: 1 } : {} }),
    {
      method: route.method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': route.upload ? 'application/x-tar' : 'application/json' } }), // prettier-ignore
    },
  ]
}
async function ask(
  id: RouteId,
  route: Route,
  token: string | undefined,
  experiment: string,
): Promise<Response> {
  const [path, init] = requestTo(id, route, experiment)
  const response = await served.fetch(path, {
    ...init,
    redirect: 'manual',
    headers: { ...init.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    signal: AbortSignal.timeout(5000),
  })
  if (route.stream === 'events' && response.ok) await response.body?.cancel()
  return response
}
const codeOf = async (response: Response) => (response.status < 400 ? 'ok' : (await problemOf(response)).code)
const isOpen = (access: Access) => access === 'public' || access === 'join token'

describe('every route of the table', () => {
  it.each(all)('%s is mounted and answers as the table says', async (id, route) => {
    if (id === 'experiments.delete' || id === 'session.delete') return // tried below: they end what others need
    const experiment = id.startsWith('experiments.artifact') ? 'exp-done' : 'exp-own'
    const response = await ask(id, route, userToken, experiment)
    if (id === 'session.create' || id === 'me.set_password') {
      expect(await codeOf(response)).toBe('bad_credentials')
      return
    }
    if (id === 'signIn.device' || id === 'signIn.poll') {
      // A directory has no pages of its own.
      expect(await codeOf(response)).toBe('not_found')
      return
    }
    if (id === 'nodes.confirm_down') {
      expect(await problemOf(response)).toMatchObject({
        code: 'conflict',
        message: 'host-1 answers: it is not down',
      })
      return
    }
    if (id === 'nodes.remove') {
      // Nobody reports here that the others live, and it runs what the other requests are about.
      expect(await problemOf(response)).toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(/^without host-1, 0 of 3/) as string,
      })
      return
    }
    expect(response.status).toBe(id === 'experiments.create' ? 200 : route.status)
    if (route.stream || !route.reply) return
    // What is answered is what the document promises.
    expect(route.reply.safeParse(await response.json()).error?.issues ?? []).toEqual([])
  })

  it.each(all)('%s asks who it is, unless it is a door before sign-in', async (id, route) => {
    const anonymous = await codeOf(await ask(id, route, undefined, 'exp-own'))
    const bad = await codeOf(await ask(id, route, 'sdc_nobody-knows-this-one', 'exp-own'))
    if (isOpen(route.access)) {
      expect([anonymous, bad]).not.toContain('unauthenticated')
      expect(bad).toBe(anonymous)
    } else expect([anonymous, bad]).toEqual(['unauthenticated', 'unauthenticated'])
  })

  it.each(all.filter(([, route]) => !isOpen(route.access)))(
    '%s lets a task do what the evaluator permits a task, on its own experiment only',
    async (id, route) => {
      if (['session.delete', 'me.get', 'me.set_password'].includes(id)) {
        expect(await codeOf(await ask(id, route, taskToken, 'exp-own'))).toBe('forbidden')
        return
      }
      const actor = { kind: 'task', task: taskId, workload: 'exp-own', attempt: 1 } as const
      const action = route.access as Exclude<Access, 'public' | 'join token'>
      const allowed = permits(actor, action, { workload: 'exp-own' })
      const own = await codeOf(await ask(id, route, taskToken, 'exp-own'))
      // A running task has kept no files yet: it may ask, and there is nothing.
      const expected = id === 'experiments.artifact' ? 'not_found' : 'ok'
      expect(own).toBe(allowed ? expected : 'forbidden')
      if (route.path.includes('{experiment}'))
        expect(await codeOf(await ask(id, route, taskToken, 'exp-other'))).toBe('not_found')
    },
  )

  it('answers over HTTP/2 as over HTTP/1.1', async () => {
    const authorization = `Bearer ${userToken}`
    const got = await fetch2(served.h2, '/api/v2/experiments/exp-own?consistency=local', { authorization })
    expect(got.status).toBe(200)
    expect(got.headers).toMatchObject({ 'submarine-consistency': 'local', 'submarine-age': '0' })
    expect(JSON.parse(got.text)).toMatchObject({ id: 'exp-own', state: 'Running' })
    const made = await fetch2(
      served.h2,
      '/api/v2/experiments?dry_run=1',
      { ':method': 'POST', authorization, 'content-type': 'application/json' },
      JSON.stringify({ name: 'two', command: 'true' }),
    )
    expect([made.status, JSON.parse(made.text)]).toMatchObject([200, { id: 'dry-run', name: 'two' }])
    const missing = await fetch2(served.h2, '/api/v2/nothing')
    expect([missing.status, missing.headers['content-type']]).toEqual([404, 'application/problem+json'])
  })

  it('signs in, shows who I am, signs out', async () => {
    const signedIn = await served.fetch('/api/v2/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: served.origin },
      body: JSON.stringify({ user: 'admin', password: 'correct horse' }),
    })
    expect(signedIn.status).toBe(201)
    const cookie = signedIn.headers.get('set-cookie') ?? ''
    expect(cookie).toMatch(/^submarine_session=sdc_[\w-]+; Path=\/; HttpOnly; SameSite=Strict; Expires=/)
    expect(cookie).not.toContain('Secure')
    const headers = { cookie: cookie.split(';')[0] ?? '', origin: served.origin }
    expect(await (await served.fetch('/api/v2/me', { headers })).json()).toMatchObject({ name: 'admin' })
    const out = await served.fetch('/api/v2/session', { method: 'DELETE', headers })
    expect([out.status, out.headers.get('set-cookie')]).toEqual([
      204,
      'submarine_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0',
    ])
    expect((await served.fetch('/api/v2/me', { headers })).status).toBe(401)
  })

  it('edits what is still as the caller saw it, and says why not otherwise', async () => {
    const headers = { authorization: `Bearer ${userToken}`, 'content-type': 'application/merge-patch+json' }
    const path = '/api/v2/experiments/exp-done'
    const edit = (patch: unknown, ifMatch?: string) =>
      served.fetch(path, {
        method: 'PATCH',
        headers: { ...headers, ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }) },
        body: JSON.stringify(patch),
      })
    const before = (await served.fetch(path, { headers })).headers.get('etag') ?? ''
    const first = await edit({ description: 'good', tags: { lr: '0.1', seed: '7' } }, before)
    expect([first.status, await first.json()]).toMatchObject([
      200,
      { description: 'good', tags: { lr: '0.1', seed: '7' } },
    ])
    const after = first.headers.get('etag') ?? ''
    expect(after).not.toBe(before)
    expect((await edit({ description: 'lost' }, before)).status).toBe(412)
    expect(await (await edit({ tags: { lr: null } }, after)).json()).toMatchObject({
      description: 'good',
      tags: { seed: '7' },
    })
    const wrong = await edit({ description: 7, tags: { '': 'x', 'a=b': 'x', ok: 7 }, state: 'Succeeded' })
    expect([wrong.status, await wrong.json()]).toMatchObject([400, { code: 'invalid_request' }])
    const pointers = ((await (await edit({ tags: { 'a=b': 'x' } })).json()) as { errors: object[] }).errors
    expect(pointers).toMatchObject([{ pointer: '/tags/a=b' }])
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`k${at}`, 'v']))
    expect([(await edit({ tags: many })).status, (await edit({ tags: null })).status]).toEqual([400, 200])
  })

  it('removes a node, by force if it must', async () => {
    const headers = { authorization: `Bearer ${userToken}` }
    const remove = (query: string) =>
      served.fetch(`/api/v2/nodes/host-3${query}`, { method: 'DELETE', headers })
    expect((await remove('?force=perhaps')).status).toBe(400)
    served.world.log.liveness.set('node-2', { liveness: 'ready', silent_ms: 0, usage: null })
    const refused = await remove('?force=1')
    expect(await problemOf(refused)).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('1 of 3 voters would answer') as string,
    })
    served.world.log.liveness.set('node-1', { liveness: 'ready', silent_ms: 0, usage: null })
    expect((await remove('')).status).toBe(204)
    expect((await remove('')).status).toBe(404)
  })

  it('deletes what has ended, when it is still as the caller saw it', async () => {
    const headers = { authorization: `Bearer ${userToken}` }
    const path = '/api/v2/experiments/exp-done'
    const etag = (await served.fetch(path, { headers })).headers.get('etag') ?? ''
    expect(etag).toMatch(/^"\d+"$/)
    expect((await served.fetch(path, { headers: { ...headers, 'if-none-match': etag } })).status).toBe(304)
    const remove = (ifMatch: string) =>
      served.fetch(path, { method: 'DELETE', headers: { ...headers, 'if-match': ifMatch } })
    expect((await remove('"1"')).status).toBe(412)
    expect((await remove('W/"1"')).status).toBe(400)
    expect((await remove(etag)).status).toBe(204)
    expect((await remove(etag)).status).toBe(404)
  })
})
