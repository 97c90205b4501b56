import { once } from 'node:events'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { ProblemError } from '../../../contract/index.ts'
import type { PeerHandler } from '../cluster.ts'
import { cleanUp, Inbox, startAgent, type TestAgent } from './testing/agent.ts'

afterEach(cleanUp)

/** One calls, two serves. */
async function pair(): Promise<{ one: TestAgent; two: TestAgent }> {
  const two = await startAgent(2)
  const one = await startAgent(1, { state: new Map([[2, `127.0.0.1:${two.port}`]]) })
  return { one, two }
}

const echo: PeerHandler = async (from, request, response) => {
  response.setHeader('x-from', from)
  response.end(`${request.method} ${request.url} ${await text(request)}`)
}

test('a request is answered, and the caller is who its certificate says', async () => {
  const { one, two } = await pair()
  two.peers.serve('/echo', echo)
  for (const body of ['hello', Buffer.from('hello'), Readable.from(['hel', 'lo'])]) {
    const answer = await one.peers.request('node-2', {
      method: 'POST',
      path: '/echo/a?b=1',
      headers: { 'x-from': 'node-9' },
      body,
    })
    expect([answer.status, answer.headers['x-from']]).toEqual([200, 'node-1'])
    expect(await text(answer.body)).toBe('POST /echo/a?b=1 hello')
  }
})

test('a removed member is told so on every request, and what is open to it ends', async () => {
  const members = new Set([1, 2])
  const two = await startAgent(2, { admits: (member) => members.has(member) })
  const one = await startAgent(1, { state: new Map([[2, `127.0.0.1:${two.port}`]]) })
  two.peers.serve('/echo', echo)
  two.peers.serve('/endless', async (_, _request, response) => void response.write('begun'))
  let told = 0
  one.peers.onRemoved(() => told++)
  const ask = () => one.peers.request('node-2', { method: 'GET', path: '/echo' })
  await text((await ask()).body)
  const { body } = await one.peers.request('node-2', { method: 'GET', path: '/endless' })
  const end = once(body, 'error')
  body.resume()

  members.delete(1)
  await expect(ask()).rejects.toMatchObject({ code: 'removed' })
  expect(told).toBe(1)
  two.peers.forget(1)
  await end
  await expect(ask()).rejects.toMatchObject({ code: 'removed' })
})

test('connections are kept: requests one after the other use the same', async () => {
  const { one, two } = await pair()
  const ports = new Set<number | undefined>()
  two.peers.serve('/port', async (_, request, response) => {
    ports.add(request.socket.remotePort)
    response.end()
  })
  for (let i = 0; i < 3; i++)
    await text((await one.peers.request('node-2', { method: 'GET', path: '/port' })).body)
  expect(ports.size).toBe(1)
})

test('each request tells where its sender is', async () => {
  const { one, two } = await pair()
  two.peers.serve('/echo', echo)
  await one.peers.request('node-2', { method: 'GET', path: '/echo' })
  expect(await two.book.of(1)).toEqual([`127.0.0.1:${one.port}`])
})

test('the longest prefix serves; a prefix ends where a path segment ends', async () => {
  const { one, two } = await pair()
  const say =
    (what: string): PeerHandler =>
    async (_, _request, response) =>
      void response.end(what)
  two.peers.serve('/a', say('a'))
  two.peers.serve('/a/b/', say('b'))
  const ask = async (path: string) => text((await one.peers.request('node-2', { method: 'GET', path })).body)
  expect([await ask('/a'), await ask('/a/x'), await ask('/a/b/c'), await ask('/a?q')]).toEqual([
    'a',
    'a',
    'b',
    'a',
  ])
  await expect(ask('/ab')).rejects.toMatchObject({ code: 'not_found' })
  expect(() => two.peers.serve('/a', say('c'))).toThrow(/served already/)
})

test('a problem travels with its code, hint and fields, also where there is no body', async () => {
  const { one, two } = await pair()
  two.peers.serve('/stale', async () => {
    throw new ProblemError('stale_attempt', 'attempt 2 runs', {
      hint: 'wait',
      errors: [{ pointer: '/a', message: 'b' }],
    })
  })
  for (const method of ['GET', 'POST'] as const)
    await expect(one.peers.request('node-2', { method, path: '/stale' })).rejects.toMatchObject({
      code: 'stale_attempt',
      message: 'attempt 2 runs',
      hint: 'wait',
      errors: [{ pointer: '/a', message: 'b' }],
    })
  await expect(one.peers.request('node-2', { method: 'HEAD', path: '/stale' })).rejects.toMatchObject({
    code: 'stale_attempt',
  })
})

test('an unexpected failure answers internal, and is logged where it happened', async () => {
  const { one, two } = await pair()
  two.peers.serve('/bug', async () => {
    throw new TypeError('oops')
  })
  await expect(one.peers.request('node-2', { method: 'GET', path: '/bug' })).rejects.toMatchObject({
    code: 'internal',
  })
  expect(await two.lines.with('a request of another agent failed')).toContain('oops')
})

test('a problem in the middle of an upload reaches the caller, and the upload stops', async () => {
  const { one, two } = await pair()
  two.peers.serve('/full', async () => {
    throw new ProblemError('disk_low')
  })
  const endless = Readable.from(
    (function* () {
      for (;;) yield Buffer.alloc(65_536)
    })(),
  )
  const sent = one.peers.request('node-2', { method: 'PUT', path: '/full', body: endless })
  await expect(sent).rejects.toMatchObject({ code: 'disk_low' })
  if (!endless.closed) await once(endless, 'close').catch(() => undefined)
  expect(endless.destroyed).toBe(true)
})

test('a handler that fails after the head breaks the body, so that nobody takes it for whole', async () => {
  const { one, two } = await pair()
  two.peers.serve('/half', async (_, _request, response) => {
    response.write('half')
    await pause(0)
    throw new Error('disk error')
  })
  const { body } = await one.peers.request('node-2', { method: 'GET', path: '/half' })
  await expect(text(body)).rejects.toThrow()
})

test('a reader that stops makes the sender wait, not memory grow', async () => {
  const { one, two } = await pair()
  let made = 0
  two.peers.serve('/much', async (_, _request, response) => {
    const source = Readable.from(
      (function* () {
        for (; made < 2000; made++) yield Buffer.alloc(65_536)
      })(),
    )
    source.pipe(response)
  })
  const { body } = await one.peers.request('node-2', { method: 'GET', path: '/much' })
  // Until the source has not moved for a while: only back-pressure can stop it before its end.
  for (let last = -1; last !== made; await pause(100)) last = made
  expect(made).toBeLessThan(1000)
  let bytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) bytes += chunk.length
  expect(bytes).toBe(2000 * 65_536)
})

test("the caller's abort ends the request here and there, before and after the head", async () => {
  const { one, two } = await pair()
  const ended = new Inbox<string>()
  const began = new Inbox<string>()
  two.peers.serve('/', async (_, request, response) => {
    const path = request.url ?? ''
    response.once('close', () => ended.add(path))
    if (path === '/after') response.write('head')
    began.add(path)
  })
  const before = new AbortController()
  const waiting = one.peers.request('node-2', { method: 'GET', path: '/before', signal: before.signal })
  await began.first()
  before.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await ended.first()

  const after = new AbortController()
  const { body } = await one.peers.request('node-2', { method: 'GET', path: '/after', signal: after.signal })
  after.abort(new Error('enough'))
  await expect(text(body)).rejects.toThrow('enough')
  expect(await ended.count(2)).toEqual(['/before', '/after'])
  await expect(
    one.peers.request('node-2', { method: 'GET', path: '/never', signal: after.signal }),
  ).rejects.toThrow('enough')
  expect(began.all).toEqual(['/before', '/after'])
})

test('a caller that reads half and leaves ends the handler', async () => {
  const { one, two } = await pair()
  const ended = new Inbox<null>()
  two.peers.serve('/log', async (_, _request, response) => {
    response.once('close', () => ended.add(null))
    response.write('line\n')
  })
  const { body } = await one.peers.request('node-2', { method: 'GET', path: '/log' })
  await once(body, 'data')
  body.destroy()
  await ended.first()
})

test('no answer in time, nobody there, and no such node are node_unreachable', async () => {
  const { one, two } = await pair()
  two.peers.serve('/slow', () => new Promise(() => undefined))
  const ask = (node: string, timeoutMs = 5_000) =>
    one.peers.request(node, { method: 'GET', path: '/slow', timeoutMs })
  await expect(ask('node-2', 50)).rejects.toMatchObject({
    code: 'node_unreachable',
    message: 'node-2 is not reachable: no answer within 50 ms',
  })
  await expect(ask('node-3')).rejects.toMatchObject({ code: 'node_unreachable' })
  await expect(ask('node-x')).rejects.toMatchObject({ code: 'node_unreachable' })
  await two.stop()
  await expect(ask('node-2')).rejects.toMatchObject({ code: 'node_unreachable' })
})

test('another member at the address gets no request', async () => {
  const two = await startAgent(2)
  const seen = new Inbox<string>()
  two.peers.serve('/', async (from, _request, response) => {
    seen.add(from)
    response.end()
  })
  const one = await startAgent(1, { state: new Map([[3, `127.0.0.1:${two.port}`]]) })
  await expect(one.peers.request('node-3', { method: 'GET', path: '/' })).rejects.toMatchObject({
    code: 'node_unreachable',
    message: expect.stringContaining('member 2 answers there') as unknown,
  })
  expect(seen.all).toEqual([])
})

test('a kept connection that the other side closed does not fail a request that may be repeated', async () => {
  const { one, two } = await pair()
  two.peers.serve('/echo', echo)
  const get = async () => text((await one.peers.request('node-2', { method: 'GET', path: '/echo' })).body)
  await get()
  const { port, data } = two
  await two.stop()
  const again = await startAgent(2, { port, data })
  again.peers.serve('/echo', echo)
  expect(await get()).toBe('GET /echo ')
})

test('the table of the heartbeat is what everybody sees, and listeners hear of a new one', async () => {
  const { one } = await pair()
  let heard = 0
  const stop = one.peers.onLiveness(() => heard++)
  const table = new Map([['node-1', { liveness: 'ready', silent_ms: 0, usage: null } as const]])
  one.peers.setLiveness(table)
  expect([one.peers.liveness(), heard]).toEqual([table, 1])
  stop()
  one.peers.setLiveness(new Map())
  expect(heard).toBe(1)
})
