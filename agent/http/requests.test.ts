import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Experiment, Problem } from '../../contract/index.ts'
import { csp } from '../../contract/csp.ts'
import { fetch2, serve, type Served } from './testing/served.ts'

let served: Served
let bearer: Record<string, string>
beforeAll(async () => {
  served = await serve()
  bearer = { authorization: `Bearer ${served.world.signIn()}` }
})
afterAll(() => served.close())

const json = { 'content-type': 'application/json' }
function post(path: string, body: string | undefined, headers: Record<string, string> = {}) {
  return served.fetch(path, { method: 'POST', headers: { ...bearer, ...headers }, ...(body === undefined ? {} : { body }) }) // prettier-ignore
}
const submit = (spec: unknown, headers: Record<string, string> = {}) =>
  post('/api/v2/experiments', JSON.stringify(spec), { ...json, ...headers })
async function problem(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const body = Problem.parse(await response.json())
  expect(body.status).toBe(response.status)
  expect(body.request_id).toBe(response.headers.get('x-request-id'))
  return body
}

describe('a request that cannot be read', () => {
  it.each([
    ['broken JSON', '{"name":', json, 400, 'invalid_request'],
    ['no JSON', 'name=x', { 'content-type': 'application/x-www-form-urlencoded' }, 400, 'invalid_request'],
    ['a text', '{}', { 'content-type': 'text/plain' }, 400, 'invalid_request'],
    ['a nameless type', '{}', { 'content-type': 'nonsense' }, 400, 'invalid_request'],
    ['a poisoned prototype', '{"__proto__":{"rank":"admin"}}', json, 400, 'invalid_request'],
    ['nothing', '', json, 400, 'invalid_spec'],
    ['a body of 10 MB', JSON.stringify({ name: 'a'.repeat(10_000_000) }), json, 413, 'too_large'],
    [
      'a name of 3 MB',
      JSON.stringify({ name: 'a'.repeat(3_000_000), command: 'x' }),
      json,
      400,
      'invalid_spec',
    ],
  ])('%s is a problem with words', async (_what, body, headers, status, code) => {
    const response = await post('/api/v2/experiments', body, headers)
    expect(response.status).toBe(status)
    const found = await problem(response)
    expect(found.code).toBe(code)
    expect(JSON.stringify(found).length).toBeLessThan(2000)
  })

  it('10 MB without a length, over both protocols, are too large', async () => {
    const chunks = new ReadableStream({
      start(controller) {
        for (let at = 0; at < 10; at++) controller.enqueue(new Uint8Array(1_000_000).fill(97))
        controller.close()
      },
    })
    const init = { method: 'POST', headers: { ...bearer, ...json }, body: chunks, duplex: 'half' }
    const response = await served.fetch('/api/v2/experiments', init as RequestInit)
    expect((await problem(response)).code).toBe('too_large')
    const headers = { ':method': 'POST', ...bearer, ...json }
    const second = await fetch2(served.h2, '/api/v2/experiments', headers, 'a'.repeat(10_000_000))
    expect([second.status, JSON.parse(second.text)]).toMatchObject([413, { code: 'too_large' }])
  })

  it('names each wrong field where it stands', async () => {
    const spec = await problem(await submit({ experiment: { name: '../x', parameter: '', colour: 1 } }))
    expect(spec).toMatchObject({ code: 'invalid_spec', status: 400 })
    expect(spec.errors?.map((error) => error.pointer)).toEqual(
      expect.arrayContaining(['/experiment/name', '/experiment/parameter', '/experiment/colour']),
    )
    const query = await problem(
      await served.fetch('/api/v2/experiments?page_size=0&pagesize=3', { headers: bearer }),
    )
    expect(query.errors?.map((error) => error.pointer)).toEqual(['/query/page_size', '/query/pagesize'])
    const body = await problem(await post('/api/v2/auth/can-i', '{"action":"rule","x":1}', json))
    expect(body.errors?.map((error) => error.pointer)).toEqual(['/action', '/x'])
    const twice = await served.fetch('/api/v2/nodes?consistency=local&consistency=strong', {
      headers: bearer,
    })
    expect((await problem(twice)).errors?.[0]?.pointer).toBe('/query/consistency')
  })

  it.each([
    '/api/v2/nodes/%00',
    '/api/v2/nodes/a%0Ab',
    `/api/v2/nodes/${'a'.repeat(300)}`,
    '/api/v2/nodes/%E0%A4%A',
  ])('%s is refused', async (path) =>
    expect((await problem(await served.fetch(path, { headers: bearer }))).code).toBe('invalid_request'),
  )

  it.each([
    ['GET', '/api'],
    ['GET', '/api/v2'],
    ['GET', '/api/v3/nodes'],
    ['PUT', '/api/v2/nodes'],
    ['POST', '/nodes'],
  ])('%s %s is not there', async (method, path) => {
    expect((await problem(await served.fetch(path, { method, headers: bearer }))).code).toBe('not_found')
  })
})

describe('every answer', () => {
  it.each(['/', '/api/v2/version', '/api/v2/nothing', '/livez', '/assets/x.js', '/api/v2/me'])(
    '%s carries the security headers',
    async (path) => {
      const { headers } = await served.fetch(path)
      expect(headers.get('content-security-policy')).toBe(csp)
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('strict-transport-security')).toBeNull()
      expect(headers.get('x-request-id')).toMatch(/^[0-9a-f]{16}$/)
    },
  )

  it('allows what the console needs and no more', () => {
    expect(csp).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; " +
        "img-src 'self' data: blob:; font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; " +
        "frame-ancestors 'none'",
    )
  })

  it('to HEAD is that to GET without its body', async () => {
    const response = await served.fetch('/api/v2/nodes', { method: 'HEAD', headers: bearer })
    expect([response.status, await response.text()]).toEqual([200, ''])
  })

  it('never brings a secret into the log, and a failure of ours brings its id', async () => {
    const secret = 'sdc_this-must-stay-out-of-the-log'
    await served.fetch('/api/v2/me', { headers: { authorization: `Bearer ${secret}` } })
    await post('/api/v2/session', JSON.stringify({ user: 'admin', password: secret }), json)
    served.world.cluster.events = () => Promise.reject(new Error('disk gone'))
    const failed = await served.fetch('/api/v2/events', { headers: bearer })
    const found = await problem(failed)
    expect([found.code, found.detail]).toEqual(['internal', undefined])
    const log = served.logged.join('')
    expect(log).toContain('disk gone')
    expect(log).toContain(found.request_id)
    expect(log).not.toContain(secret)
  })
})

describe('a submit', () => {
  const spec = { name: 'once', command: 'true', resources: { cpu: 1, memory: '1Gi' } }
  const idOf = async (response: Response) => ((await response.json()) as Experiment).id

  it('repeated with its key makes one experiment, however it is spelled', async () => {
    const headers = { 'idempotency-key': 'key-1' }
    const first = await submit(spec, headers)
    expect([first.status, first.headers.get('etag')]).toEqual([201, expect.stringMatching(/^"\d+"$/)])
    const id = await idOf(first)
    expect(await idOf(await submit(spec, headers))).toBe(id)
    const other = { resources: 'mem=1gb, vcore=1', parameter: 'true', name: 'once' }
    expect(await idOf(await submit({ experiment: other }, headers))).toBe(id)
    // The cluster could not take it again by now; that is no answer to a repeat.
    served.world.space.full = true
    expect(await idOf(await submit(spec, headers))).toBe(id)
    expect((await problem(await submit(spec))).code).toBe('disk_low')
    served.world.space.full = false
    const all = await served.fetch('/api/v2/experiments?name=once', { headers: bearer })
    expect(((await all.json()) as { items: unknown[] }).items).toHaveLength(1)
  })

  it('with the key of another request is refused', async () => {
    const headers = { 'idempotency-key': 'key-2' }
    expect((await submit(spec, headers)).status).toBe(201)
    const found = await problem(await submit({ ...spec, command: 'false' }, headers))
    expect([found.code, found.status]).toEqual(['idempotency_mismatch', 422])
  })

  it.each(['', 'two words', 'x'.repeat(201)])('with the key %j is refused', async (key) => {
    const found = await problem(await submit(spec, { 'idempotency-key': key }))
    expect(found.errors?.[0]?.pointer).toBe('/header/idempotency-key')
  })

  it('tried only (dry_run) leaves nothing behind', async () => {
    const before = served.world.log.index
    const response = await post('/api/v2/experiments?dry_run=true', JSON.stringify(spec), json)
    expect([response.status, await response.json()]).toMatchObject([
      200,
      { id: 'dry-run', tasks: [{ attempt: 0 }] },
    ])
    expect(served.world.log.index).toBe(before)
    const never = { ...spec, resources: 'cpu=64' }
    const found = await problem(await post('/api/v2/experiments?dry_run=1', JSON.stringify(never), json))
    expect(found.code).toBe('never_fits')
  })

  it('that names an upload nobody made is refused', async () => {
    const found = await problem(await submit({ ...spec, code: { upload: 'a'.repeat(64) } }))
    expect(found.errors).toEqual([
      { pointer: '/code/upload', message: expect.stringContaining('was uploaded') },
    ])
  })

  it('is refused by a cluster without a leader', async () => {
    served.world.log.setLeader(null)
    expect((await problem(await submit(spec))).code).toBe('no_leader')
    served.world.log.setLeader('node-1')
  })
})

describe('reading', () => {
  it('is strong unless asked otherwise, and stale answers say so', async () => {
    served.world.log.setLeader(null)
    const strong = await served.fetch('/api/v2/nodes', { headers: bearer })
    expect((await problem(strong)).code).toBe('no_leader')
    const local = await served.fetch('/api/v2/nodes?consistency=local', { headers: bearer })
    expect(local.status).toBe(200)
    expect(local.headers.get('submarine-consistency')).toBe('local')
    expect(local.headers.get('submarine-applied-index')).toBe(String(served.world.log.index))
    const missing = await served.fetch('/api/v2/experiments/none?consistency=local', { headers: bearer })
    expect((await problem(missing)).code).toBe('not_found')
    served.world.log.setLeader('node-1')
    expect(
      (await served.fetch('/api/v2/nodes', { headers: bearer })).headers.get('submarine-consistency'),
    ).toBeNull()
  })

  it('comes in pages that neither repeat nor lose what stays, newest first', async () => {
    const ids = Array.from({ length: 25 }, (_, at) => `exp-page-${String(at).padStart(2, '0')}`)
    for (const id of ids) served.world.submit(id, { name: 'paged' })
    const seen: string[] = []
    const versions = new Set<number>()
    let token: string | null = ''
    while (token !== null) {
      const path = `/api/v2/experiments?name=paged&page_size=10${token ? `&page_token=${token}` : ''}`
      const page = (await (await served.fetch(path, { headers: bearer })).json()) as { items: Experiment[]; next_page_token: string | null; resource_version: number } // prettier-ignore
      seen.push(...page.items.map((item) => item.id))
      versions.add(page.resource_version)
      token = page.next_page_token
      // Newer ones come in front of what was read, and move nothing.
      served.world.submit(`exp-page-new-${seen.length}`, { name: 'paged' })
    }
    expect(seen).toEqual(ids.toReversed())
    expect(versions.size).toBe(1)
    const wrong = await served.fetch('/api/v2/experiments?page_token=abc', { headers: bearer })
    expect((await problem(wrong)).errors?.[0]?.pointer).toBe('/query/page_token')
  })

  it('finds by id or by the only name', async () => {
    served.world.submit('exp-named', { name: 'unique' })
    const get = (ref: string) => served.fetch(`/api/v2/experiments/${ref}`, { headers: bearer })
    expect(await (await get('unique')).json()).toMatchObject({ id: 'exp-named' })
    served.world.submit('exp-named-2', { name: 'unique' })
    const found = await problem(await get('unique'))
    expect(found.detail).toBe('2 experiments are named unique')
    expect(found.hint).toContain('exp-named-2')
    expect(await (await served.fetch('/api/v2/nodes/host-2', { headers: bearer })).json()).toMatchObject({
      id: 'node-2',
    })
  })
})

describe('the console', () => {
  it('says how to build it while it is not', async () => {
    const response = await served.fetch('/')
    expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('npm run build')])
  })

  it('is served with its addresses, assets for ever, and nothing outside its folder', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'console-'))
    const dist = join(folder, 'dist')
    await mkdir(join(dist, 'assets'), { recursive: true })
    await writeFile(join(dist, 'index.html'), '<title>console</title>')
    await writeFile(join(dist, 'assets', 'app-1a2b.js'), 'let a')
    await writeFile(join(dist, '.env'), 'hidden from all')
    await writeFile(join(folder, 'secret.txt'), 'hidden from all')
    const demoFile = join(folder, 'demo.json')
    await writeFile(demoFile, '{"name":"demo"}')
    const built = await serve({ http: { consoleFolder: dist, demoFile } })
    try {
      for (const path of ['/', '/experiments/exp-1', '/nodes?a=1']) {
        const page = await built.fetch(path)
        expect(await page.text()).toBe('<title>console</title>')
        expect(page.headers.get('cache-control')).toBe('no-cache')
        expect(page.headers.get('content-type')).toContain('text/html')
      }
      const asset = await built.fetch('/assets/app-1a2b.js')
      expect(asset.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
      expect(asset.headers.get('content-type')).toContain('javascript')
      for (const path of [
        '/assets/gone.js',
        '/.env',
        '/%2e%2e/secret.txt',
        '/..%2fsecret.txt',
        '/assets/..%5c..%5csecret.txt',
        '/a%00.js',
      ])
        // prettier-ignore
        expect(await (await built.fetch(path)).text()).not.toContain('hidden from all')
      expect((await built.fetch('/assets/gone.js')).status).toBe(404)
      expect(await (await built.fetch('/demo.json')).json()).toEqual({ name: 'demo' })
      expect((await served.fetch('/demo.json')).status).toBe(404)
    } finally {
      await built.close()
      await rm(folder, { recursive: true })
    }
  })

  it('probes see whether work may be sent', async () => {
    const ready = async () => (await served.fetch('/readyz')).status
    expect(await (await served.fetch('/livez')).json()).toEqual({ alive: true })
    expect(await ready()).toBe(200)
    served.world.log.setLeader(null)
    expect(await ready()).toBe(503)
    served.world.log.setLeader('node-1')
    served.world.space.full = true
    expect(await ready()).toBe(503)
    served.world.space.full = false
  })
})
