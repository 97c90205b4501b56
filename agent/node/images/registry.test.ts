import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ProblemError } from '../../../contract/index.ts'
import { LoopbackRegistry, type Shelf } from './registry.ts'

const content = Buffer.from('0123456789')
const shelf: Shelf = {
  manifest: async (repository, reference) => {
    if (reference === 'none') throw new ProblemError('not_found', `no ${repository}`)
    return { digest: 'sha256:1', media_type: 'application/x', body: Buffer.from('{"a":1}') }
  },
  blob: async (_repository, digest, { start, end } = { start: 0, end: Infinity }) => {
    if (digest === 'far') throw new ProblemError('node_unreachable', 'no reachable agent has the file')
    return { bytes: content.length, body: Readable.from([content.subarray(start, end + 1)]) }
  },
}

let registry: LoopbackRegistry
beforeEach(async () => {
  registry = await LoopbackRegistry.listen({ cluster: shelf }, { warn: () => undefined })
})
afterEach(() => registry.close())

function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const { username, password } = registry.credentials
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  return fetch(`http://${registry.host}${path}`, { ...init, headers: { authorization, ...init.headers } })
}

describe('the registry on loopback', () => {
  it('serves manifests and blobs as engines ask for them', async () => {
    expect((await ask('/v2/')).status).toBe(200)
    const manifest = await ask('/v2/cluster/lab/tool/manifests/sha256:1')
    expect(manifest.headers.get('docker-content-digest')).toBe('sha256:1')
    expect(await manifest.json()).toEqual({ a: 1 })
    expect(await (await ask('/v2/cluster/lab/tool/blobs/sha256:2')).text()).toBe('0123456789')
    const head = await ask('/v2/cluster/lab/tool/blobs/sha256:2', { method: 'HEAD' })
    expect([head.headers.get('content-length'), await head.text()]).toEqual(['10', ''])
  })

  it('serves the part of a blob that an engine lacks', async () => {
    const part = await ask('/v2/cluster/t/blobs/x', { headers: { range: 'bytes=4-6' } })
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 4-6/10', '456']) // prettier-ignore
    const rest = await ask('/v2/cluster/t/blobs/x', { headers: { range: 'bytes=7-' } })
    expect(await rest.text()).toBe('789')
    expect((await ask('/v2/cluster/t/blobs/x', { headers: { range: 'bytes=10-' } })).status).toBe(416)
  })

  it('answers nobody but the engine of its agent, and takes nothing', async () => {
    const stranger = await fetch(`http://${registry.host}/v2/cluster/t/blobs/x`)
    expect([stranger.status, stranger.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="agent"'])
    expect((await ask('/v2/', { headers: { authorization: 'Basic YTpi' } })).status).toBe(401)
    expect((await ask('/v2/cluster/t/blobs/uploads/', { method: 'POST' })).status).toBe(400)
  })

  it('says what is missing, and keeps why the engine got nothing', async () => {
    const begun = performance.now()
    expect(registry.problemSince(begun)).toBeUndefined()
    const none = await ask('/v2/cluster/t/manifests/none')
    expect([none.status, await none.json()]).toEqual([
      404,
      { errors: [{ code: 'NOT_FOUND', message: 'no t' }] },
    ])
    expect((await ask('/v2/other/t/manifests/1')).status).toBe(404)
    expect((await ask('/v2/cluster/t/blobs/far')).status).toBe(503)
    expect(registry.problemSince(begun)).toBe('no reachable agent has the file')
  })
})
