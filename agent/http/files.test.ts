import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Problem } from '../../contract/index.ts'
import { disposition } from './files.ts'
import { fetch2, serve, type Served } from './testing/served.ts'

let served: Served
let bearer: Record<string, string>
const content = Array.from({ length: 5000 }, (_, at) => `line ${at}\n`).join('')
const digest = createHash('sha256').update(content).digest('hex')
beforeAll(async () => {
  served = await serve({ services: { maxUpload: 20_000_000 } })
  bearer = { authorization: `Bearer ${served.world.signIn()}` }
  const { world } = served
  const [task = ''] = world.submit('exp-1')
  world.run('exp-1')
  world.finish(task, {
    artifacts: world.keep({ 'out/log.txt': content, 'empty': '', 'ünï "quoted".html': '<script>1</script>' }),
  }) // prettier-ignore
})
afterAll(() => served.close())

const base = '/api/v2/experiments/exp-1/artifacts/exp-1-worker-0'
const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
  served.fetch(`${base}/${path}`, { method, headers: { ...bearer, ...headers } })

describe('a download', () => {
  it('is the file, as an attachment that no browser runs', async () => {
    const response = await get('out/log.txt')
    expect(response.status).toBe(200)
    expect(await response.text()).toBe(content)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': String(content.length),
      'content-disposition': `attachment; filename="log.txt"; filename*=UTF-8''log.txt`,
      'x-content-type-options': 'nosniff',
      'accept-ranges': 'bytes',
      etag: `"${digest}"`,
    })
  })

  it.each([
    ['bytes=0-9', 0, 10],
    ['bytes=4090-4100', 4090, 4101],
    ['bytes=100-', 100, content.length],
    ['bytes=-25', content.length - 25, content.length],
    [`bytes=10-${content.length + 500}`, 10, content.length],
    [`bytes=-${content.length + 500}`, 0, content.length],
  ])('of %s is that part', async (range, start, end) => {
    const response = await get('out/log.txt', { range })
    expect(response.status).toBe(206)
    expect(await response.text()).toBe(content.slice(start, end))
    expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/${content.length}`)
  })

  it.each(['bytes=0-1,5-6', 'lines=1-2', 'bytes=9-2', 'bytes=-', 'bytes=a-b', 'nonsense'])(
    'of %s, which nobody serves in part, is the whole',
    async (range) => {
      const response = await get('out/log.txt', { range })
      expect([response.status, (await response.text()).length]).toEqual([200, content.length])
    },
  )

  it.each([`bytes=${content.length}-`, 'bytes=-0'])(
    'of %s, which is past the end, is refused',
    async (range) => {
      const response = await get('out/log.txt', { range })
      expect([response.status, response.headers.get('content-range')]).toEqual([
        416,
        `bytes */${content.length}`,
      ])
    },
  )

  it('goes on where it broke off only if the file is the same', async () => {
    const same = await get('out/log.txt', { range: 'bytes=5-9', 'if-range': `"${digest}"` })
    expect([same.status, await same.text()]).toEqual([206, content.slice(5, 10)])
    const other = await get('out/log.txt', { range: 'bytes=5-9', 'if-range': '"other"' })
    expect([other.status, (await other.text()).length]).toEqual([200, content.length])
  })

  it('is spared when the client has it', async () => {
    expect((await get('out/log.txt', { 'if-none-match': `"${digest}"` })).status).toBe(304)
  })

  it('of nothing is nothing, and HEAD tells the size', async () => {
    const empty = await get('empty')
    expect([empty.status, await empty.text(), empty.headers.get('content-length')]).toEqual([200, '', '0'])
    expect((await get('empty', { range: 'bytes=0-' })).status).toBe(416)
    const head = await get('out/log.txt', {}, 'HEAD')
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(content.length)])
  })

  it('keeps any name, in letters every client reads', async () => {
    const response = await get(encodeURIComponent('ünï "quoted".html'))
    expect(response.headers.get('content-disposition')).toBe(
      `attachment; filename="_n_ _quoted_.html"; filename*=UTF-8''%C3%BCn%C3%AF%20%22quoted%22.html`,
    )
    expect(disposition("a'(b)*.txt")).toContain("UTF-8''a%27%28b%29%2A.txt")
  })

  it.each(['../../etc/passwd', 'out/../empty', 'out//log.txt', 'a\\b', 'a\0b', './empty'])(
    'of the path %j is refused',
    async (path) => {
      // Raw: a client that does not tidy up what it asks for.
      const raw = path.split('/').map(encodeURIComponent).join('/')
      const response = await fetch2(served.h2, `${base}/${raw}`, bearer)
      expect(Problem.parse(JSON.parse(response.text)).code).toBe('invalid_request')
    },
  )

  it('of what is not there is not found', async () => {
    expect((await get('out/none.txt')).status).toBe(404)
    expect((await get('out')).status).toBe(404)
  })

  it('of what nobody reachable holds says so', async () => {
    served.world.blobs.unreachable = true
    const response = await get('out/log.txt')
    expect(await response.json()).toMatchObject({ code: 'node_unreachable' })
    served.world.blobs.unreachable = false
  })

  it('of the CA needs no sign-in', async () => {
    const response = await served.fetch('/api/v2/ca.pem')
    expect(await response.text()).toMatch(/^-----BEGIN CERTIFICATE-----/)
  })
})

describe('an upload', () => {
  const put = (body: string | Uint8Array, query = '', headers: Record<string, string> = {}) =>
    served.fetch(`/api/v2/blobs${query}`, {
      method: 'POST',
      body: body as string,
      headers: { ...bearer, 'content-type': 'application/x-tar', ...headers },
    })

  it('is known to the cluster with its copies when it is answered', async () => {
    const response = await put(content)
    expect([response.status, await response.json()]).toEqual([
      201,
      { sha256: digest, bytes: content.length, copies: 2 },
    ])
    expect(served.world.log.state.blobs.get(digest)).toMatchObject({ holders: ['node-1', 'node-2'] })
  })

  it.each([{ 'content-type': 'application/json' }, { 'content-type': 'text/plain' }])(
    'of whatever type (%j) is bytes',
    async (headers) => expect((await put('{"a":', '', headers)).status).toBe(201),
  )

  it('works over HTTP/2, without a type or a length', async () => {
    const response = await fetch2(served.h2, '/api/v2/blobs', { ':method': 'POST', ...bearer }, content)
    expect([response.status, JSON.parse(response.text)]).toMatchObject([201, { sha256: digest }])
  })

  it('with another digest than promised is refused', async () => {
    expect((await put(content, `?sha256=${digest}`)).status).toBe(201)
    expect(await (await put('other', `?sha256=${digest}`)).json()).toMatchObject({ code: 'invalid_request' })
    expect(await (await put('x', '?sha256=abc')).json()).toMatchObject({
      errors: [{ pointer: '/query/sha256' }],
    })
  })

  it('that is too large is refused, whether it says its length or not', async () => {
    expect(await (await put(new Uint8Array(21_000_000))).json()).toMatchObject({ code: 'too_large' })
    const headers = { ':method': 'POST', ...bearer }
    const streamed = await fetch2(served.h2, '/api/v2/blobs', headers, 'a'.repeat(21_000_000))
    expect(JSON.parse(streamed.text)).toMatchObject({ code: 'too_large' })
  })

  it('is refused below the free-space floor', async () => {
    served.world.space.full = true
    const response = await put(content)
    expect([response.status, await response.json()]).toMatchObject([507, { code: 'disk_low' }])
    served.world.space.full = false
  })

  it('is not acknowledged with one copy where a second node exists', async () => {
    served.world.blobs.holders = ['node-1']
    expect(await (await put('one copy')).json()).toMatchObject({ code: 'node_unreachable' })
    served.world.blobs.holders = ['node-1', 'node-2']
  })

  it('that is cut off is not kept', async () => {
    const before = served.world.log.state.blobs.size
    const ended = Promise.withResolvers<void>()
    const port = new URL(served.origin).port
    const sent = httpRequest({ port, host: '127.0.0.1', method: 'POST', path: '/api/v2/blobs', headers: { ...bearer, 'content-length': 100 } }) // prettier-ignore
    sent.on('error', () => ended.resolve())
    sent.write('half of it')
    setTimeout(() => sent.destroy(), 50)
    await ended.promise
    // The agent answers others meanwhile, and knows no new file.
    expect((await served.fetch('/api/v2/version')).status).toBe(200)
    expect(served.world.log.state.blobs.size).toBe(before)
  })
})
