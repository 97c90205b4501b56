import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { makeAuthority, type TestAuthority } from '../../cli/testing/certificates.ts'
import { DoubleAgent } from '../../cli/testing/double-agent.ts'
import { DoubleCluster } from '../../cli/testing/double-cluster.ts'
import { ProblemError } from '../../contract/problem.ts'
import { type ApiProxy, createApiProxy, type PageRequest } from './api-proxy.ts'
import { CurrentCluster } from './current-cluster.ts'

let authority: TestAuthority
let doubles: DoubleCluster
let cluster: CurrentCluster
let proxy: ApiProxy
let learnt: number

beforeAll(async () => {
  authority = await makeAuthority()
})
beforeEach(async () => {
  doubles = new DoubleCluster(authority)
  await DoubleAgent.start(doubles)
  await DoubleAgent.start(doubles)
  learnt = 0
  cluster = new CurrentCluster()
  proxy = createApiProxy(cluster, () => Promise.resolve(void learnt++))
  await show(doubles.agents.map((agent) => agent.origin))
})
afterEach(async () => {
  await cluster.show(undefined)
  doubles.agents.forEach((agent) => agent.kill())
})

const show = (addresses: string[], ca = authority.ca) =>
  cluster.show({ id: 'c1', name: 'lab', addresses, ca })

/** A request as Electron hands it over, from the console's own page unless told otherwise. */
function fromPage(
  path: string,
  init: RequestInit = {},
  initiatorOrigin: string | undefined = 'app://console',
) {
  const request: PageRequest = Object.assign(new Request(`app://console${path}`, init), {
    ...(initiatorOrigin ? { initiatorOrigin } : {}),
  })
  return proxy.handle(request)
}
const signIn = (password = 'right') =>
  fromPage('/api/v2/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: 'admin', password }),
  })
const post = (path: string, body: unknown) =>
  fromPage(path, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  })
const codeOf = async (response: Response) => ((await response.json()) as { code: string }).code

describe('the sign-in', () => {
  it('stays in this process: no cookie and no token reach the page, yet its requests carry it', async () => {
    expect((await fromPage('/api/v2/nodes')).status).toBe(401)
    const answer = await signIn()
    expect(answer.status).toBe(201)
    expect(answer.headers.has('set-cookie')).toBe(false)
    expect(await answer.json()).toMatchObject({ user: 'admin', token: '' })
    expect(learnt).toBe(1)
    const nodes = await fromPage('/api/v2/nodes', {
      headers: { cookie: 'a=b', authorization: 'Bearer other' },
    })
    expect(nodes.status).toBe(200)
    const sent = doubles.agents[0]?.requests.at(-1)?.headers
    expect(sent?.authorization).toBe(`Bearer ${cluster.token}`)
    expect(sent?.cookie).toBeUndefined()
    expect((await fromPage('/api/v2/session', { method: 'DELETE' })).status).toBe(204)
    expect((await fromPage('/api/v2/nodes')).status).toBe(401)
  })

  it('is not held after a wrong password, whose problem the page sees', async () => {
    const answer = await signIn('wrong')
    expect([answer.status, await codeOf(answer)]).toEqual([401, 'bad_credentials'])
    expect(cluster.token).toBeUndefined()
  })

  it('belongs to one cluster', async () => {
    await signIn()
    await cluster.show({
      id: 'other',
      name: 'other',
      addresses: [doubles.agents[0]?.origin ?? ''],
      ca: authority.ca,
    })
    expect((await fromPage('/api/v2/nodes')).status).toBe(401)
  })
})

describe('who may ask', () => {
  it.each([
    ['https://evil.example', 'GET'],
    ['app://console.evil', 'GET'],
    ['null', 'POST'],
    ['', 'POST'],
  ])('refuses %j with %s', async (origin, method) => {
    const answer = await fromPage('/api/v2/nodes', { method }, origin)
    expect([answer.status, await codeOf(answer)]).toEqual([403, 'foreign_origin'])
    expect(doubles.agents[0]?.requests).toEqual([])
  })

  it('says so when no cluster is chosen', async () => {
    await cluster.show(undefined)
    expect(await codeOf(await fromPage('/api/v2/nodes'))).toBe('no_leader')
  })
})

describe('the way to the cluster', () => {
  it('refuses an agent whose certificate another authority signed', async () => {
    await show([doubles.agents[0]?.origin ?? ''], (await makeAuthority()).ca)
    const answer = await fromPage('/api/v2/version')
    expect(await answer.json()).toMatchObject({
      code: 'no_leader',
      hint: expect.stringContaining('did not come from this cluster') as string,
    })
    expect(doubles.agents[0]?.requests).toEqual([])
  })

  it('goes on through another agent when the first is gone', async () => {
    await signIn()
    doubles.agents[0]?.kill()
    expect((await fromPage('/api/v2/nodes')).status).toBe(200)
  })

  it('makes one experiment of a POST whose agent dies before it answers', async () => {
    await signIn()
    const [first] = doubles.agents
    if (first) first.beforeAnswer = (asked, agent) => asked.id === 'experiments.create' && agent.kill()
    const answer = await post('/api/v2/experiments', { name: 'a', command: 'true' })
    expect(answer.status).toBe(201)
    expect(doubles.experiments.size).toBe(1)
  })

  it('waits out a moment without leader, and passes other problems on', async () => {
    await signIn()
    let refusals = 3
    for (const agent of doubles.agents)
      agent.beforeAnswer = () => {
        if (refusals-- > 0) throw new ProblemError('no_leader')
      }
    expect((await fromPage('/api/v2/nodes')).status).toBe(200)
    expect(refusals).toBeLessThan(0)
    expect(await codeOf(await fromPage('/api/v2/experiments/nothing'))).toBe('not_found')
  })

  it('carries an upload larger than it keeps', async () => {
    await signIn()
    const data = Buffer.alloc(3 * 1024 ** 2, 5)
    const body = new Blob([data]).stream()
    const answer = await fromPage('/api/v2/blobs', { method: 'POST', body, duplex: 'half' })
    expect(answer.status).toBe(201)
    expect([...doubles.blobs.values()][0]?.equals(data)).toBe(true)
  })

  it('hands ranges and their answers on', async () => {
    await signIn()
    doubles.add({ name: 'a', command: 'true' })
    doubles.artifacts.push({
      task: 't', attempt: 1, path: 'f', bytes: 5, sha256: '', copies: 2, data: Buffer.from('01234'),
    }) // prettier-ignore
    const answer = await fromPage('/api/v2/experiments/exp-1/artifacts/t/f', {
      headers: { range: 'bytes=2-' },
    })
    expect([answer.status, answer.headers.get('content-range')]).toEqual([206, 'bytes 2-4/5'])
    expect(await answer.text()).toBe('234')
  })
})

describe('streams', () => {
  const open = new Set<ServerResponse>()
  let server: https.Server
  const opened: () => void = () => undefined
  let closed: () => void = () => undefined

  beforeEach(async () => {
    open.clear()
    server = https.createServer(await authority.issue(), (req, res) => {
      void buffer(req).then(() => {
        res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
        open.add(res)
        res.on('close', () => {
          open.delete(res)
          closed()
        })
        opened()
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    await show([`https://127.0.0.1:${(server.address() as AddressInfo).port}`])
  })
  afterEach(() => {
    server.closeAllConnections()
    server.close()
  })

  it('arrive as they are written', async () => {
    const answer = await fromPage('/api/v2/watch')
    const reader = answer.body?.getReader()
    const [response] = open
    for (const line of ['one', 'two', 'three']) {
      // The next line is written only after the one before was read: buffering would hang here.
      response?.write(`data: ${line}\n\n`)
      const { value } = (await reader?.read()) ?? {}
      expect(Buffer.from(value ?? []).toString()).toBe(`data: ${line}\n\n`)
    }
    await reader?.cancel()
  })

  it.each(['its body', 'its request'])(
    'leave nothing open when a page lets go of %s a hundred times',
    async (what) => {
      const none = new Promise<void>((resolve) => {
        let endings = 0
        closed = () => {
          if (++endings === 100 && open.size === 0) resolve()
        }
      })
      const pages = await Promise.all(
        Array.from({ length: 100 }, async () => {
          const controller = new AbortController()
          const answer = await fromPage('/api/v2/watch', { signal: controller.signal })
          return { controller, answer }
        }),
      )
      expect(open.size).toBe(100)
      for (const { controller, answer } of pages)
        if (what === 'its body') await answer.body?.cancel()
        else controller.abort()
      await none
      expect(open.size).toBe(0)
    },
  )

  it('that break upstream break in the page, which then opens them again', async () => {
    const answer = await fromPage('/api/v2/watch')
    const reader = answer.body?.getReader()
    open.forEach((response) => response.destroy())
    await expect(reader?.read()).rejects.toThrow()
  })

  it('end when another cluster is shown', async () => {
    const answer = await fromPage('/api/v2/watch')
    await cluster.show(undefined)
    await expect(answer.text()).rejects.toThrow()
  })
})
