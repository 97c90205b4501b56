import { type IncomingMessage, request as httpRequest } from 'node:http'
import { connect } from 'node:http2'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createClient, parseEvents, type ServerEvent, WatchEvent } from '../../contract/index.ts'
import { serve, type Served } from './testing/served.ts'

let served: Served
let token: string
beforeEach(async () => {
  served = await serve({ http: { heartbeatMs: 50 } })
  token = served.world.signIn()
})
afterEach(() => served.close())

type Told = ServerEvent<WatchEvent>
const abort = () => new AbortController()
const nameOf = ({ data }: Told) =>
  data.kind === 'event'
    ? data.object.code
    : data.kind === 'experiment' || data.kind === 'node'
      ? `${data.type} ${data.object.id}`
      : data.kind

/** Watch by the typed client until `enough`, and answer what was told. */
async function watch(
  query: { resource_version?: number; kinds?: string },
  enough: (told: Told[]) => boolean,
  headers: Record<string, string> = {},
  bearer = token,
): Promise<Told[]> {
  const client = createClient((path, init) => served.fetch(path, init))
  const control = abort()
  const told: Told[] = []
  const all = { authorization: `Bearer ${bearer}`, ...headers }
  for await (const event of client.events('watch', { query, headers: all, signal: control.signal })) {
    expect(WatchEvent.parse(event.data)).toEqual(event.data)
    told.push(event)
    if (enough(told)) return told
  }
  throw new Error(`it ended after ${told.map(nameOf).join(', ')}`)
}
const keyOf = (told: Told | undefined) => told && `${nameOf(told)} ${JSON.stringify(told.data)}`
const has = (name: string) => (told: Told[]) => told.some((event) => nameOf(event) === name)

describe('watching', () => {
  it('begins with where it stands and the live figures, then tells every change', async () => {
    const { world } = served
    world.log.liveness.set('node-1', { liveness: 'ready', silent_ms: 0, usage: null })
    const told = await watch({}, (all) => {
      if (all.length === 2) {
        world.submit('exp-1')
        world.run('exp-1')
      }
      return has('task.running')(all)
    })
    expect(told.slice(0, 2).map(nameOf)).toEqual(['bookmark', 'usage'])
    expect(told[0]?.data).toMatchObject({ object: { leader: 'node-1' } })
    expect(told[1]?.id).toBe(told[0]?.id) // live figures carry no id of their own
    const names = told.map(nameOf)
    expect(names).toContain('ADDED exp-1')
    expect(names).toContain('experiment.accepted')
    const node = told.find((event) => nameOf(event) === 'MODIFIED node-1')
    expect(node?.data).toMatchObject({ object: { tasks: 1, allocated: { cpu: 1 } } })
  })

  it('resumes after an id without a gap, by parameter and by Last-Event-ID', async () => {
    const { world } = served
    const start = world.log.index
    for (let at = 0; at < 5; at++) world.submit(`exp-${at}`)
    const all = await watch(
      { resource_version: start, kinds: 'experiment,event' },
      (told) => told.length === 10,
    )
    expect(all.map(nameOf)).toEqual(
      Array.from({ length: 5 }, (_, at) => [`ADDED exp-${at}`, 'experiment.accepted']).flat(),
    )
    for (const [at, { id }] of all.entries()) {
      const rest = all.length - 1 - at
      if (rest === 0) continue
      const again = await watch(
        { kinds: 'experiment,event', resource_version: 0 },
        (told) => keyOf(told.at(-1)) === keyOf(all.at(-1)),
        { 'last-event-id': id ?? '' },
      )
      // Never less than what was not told yet; at most the rest of the same change again.
      expect(again.map(nameOf).slice(-rest)).toEqual(all.slice(at + 1).map(nameOf))
      expect(again.length - rest).toBeLessThanOrEqual(1)
    }
  })

  it('answers 410 for a version that is no longer kept', async () => {
    const headers = { authorization: `Bearer ${token}` }
    const old = await served.fetch('/api/v2/watch?resource_version=0', { headers })
    expect([old.status, await old.json()]).toMatchObject([410, { code: 'watch_expired' }])
    const version = served.world.log.index
    served.world.log.restore()
    const restored = await served.fetch(`/api/v2/watch?resource_version=${version}`, { headers })
    expect(restored.status).toBe(410)
  })

  it('ends when the state was replaced, so that everyone lists again', async () => {
    const watching = watch({}, (told) => {
      if (told.length === 2) served.world.log.restore()
      return false
    })
    await expect(watching).rejects.toThrow('it ended')
  })

  it('refuses kinds nobody knows', async () => {
    const headers = { authorization: `Bearer ${token}` }
    const response = await served.fetch('/api/v2/watch?kinds=experiment,pods', { headers })
    expect(await response.json()).toMatchObject({ errors: [{ pointer: '/query/kinds' }] })
  })

  it('tells a task of its own experiment only', async () => {
    const { world } = served
    world.submit('exp-own')
    const taskToken = world.run('exp-own')[0] ?? ''
    const start = world.log.index
    world.submit('exp-other')
    served.services.people.stillThere(taskToken)
    world.log.propose({ type: 'experiment.stop', id: 'exp-own' }, { kind: 'system' })
    const told = await watch({ resource_version: start }, has('bookmark'), {}, taskToken)
    expect(told.map(nameOf)).toEqual(['MODIFIED exp-own', 'bookmark'])
  })

  it('shows what was deleted as it last was, under a newer version', async () => {
    const { world } = served
    const [task = ''] = world.submit('exp-gone')
    world.run('exp-gone')
    world.finish(task)
    const start = world.log.index
    world.log.propose({ type: 'experiment.delete', id: 'exp-gone' }, { kind: 'system' })
    const [gone] = await watch({ resource_version: start, kinds: 'experiment' }, (told) => told.length === 1)
    expect(gone?.data).toMatchObject({
      type: 'DELETED',
      object: { state: 'Succeeded', resource_version: start + 1 },
    })
  })

  it('tells of a new leader at once', async () => {
    const told = await watch({ kinds: 'node' }, (all) => {
      if (all.length === 1) served.world.log.setLeader('node-2')
      return all.length === 2
    })
    expect(told[1]?.data).toMatchObject({ kind: 'bookmark', object: { leader: 'node-2' } })
  })

  it('sends live figures at most once a second', async () => {
    const control = abort()
    const usages: number[] = []
    const response = await served.fetch('/api/v2/watch?kinds=usage', {
      headers: { authorization: `Bearer ${token}` },
      signal: control.signal,
    })
    const timer = setInterval(() => served.world.cluster.peers.beat(), 20)
    try {
      for await (const { data } of parseEvents<WatchEvent>(response.body as ReadableStream<Uint8Array>)) {
        if (data.kind === 'usage') usages.push(performance.now())
        if (usages.length === 3) break
      }
    } finally {
      clearInterval(timer)
      control.abort()
    }
    // The first comes with the beginning, the second with the first beat.
    expect((usages[2] ?? 0) - (usages[1] ?? 0)).toBeGreaterThan(900)
  })

  it('works over HTTP/2', async () => {
    const session = connect(served.h2)
    const stream = session.request({ ':path': '/api/v2/watch', authorization: `Bearer ${token}` })
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
    expect(headers[':status']).toBe(200)
    expect(headers['content-type']).toBe('text/event-stream')
    let text = ''
    for await (const part of stream as AsyncIterable<Buffer>) {
      text += part.toString()
      if (text.includes('"bookmark"') && !text.includes('exp-2')) served.world.submit('exp-2')
      if (text.includes('ADDED')) break
    }
    expect(text).toContain('exp-2')
    session.destroy()
  })
})

describe('a quiet stream', () => {
  it('is kept open by comments', async () => {
    const response = await served.fetch('/api/v2/watch?kinds=event', {
      headers: { authorization: `Bearer ${token}` },
    })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let text = ''
    while (!/(: still here\n\n){1}[^]*(: still here\n\n)/.test(text))
      text += Buffer.from((await reader.read()).value ?? []).toString()
    await reader.cancel()
  })

  it('ends with a problem when the session does', async () => {
    const watching = watch({}, (told) => {
      if (told.length === 1)
        void served.services.people.signOut({ kind: 'user', name: 'admin', rank: 'admin' }, token)
      return false
    })
    await expect(watching).rejects.toMatchObject({ code: 'unauthenticated' })
  })
})

describe('a client that does not read', () => {
  it('gets newer changes instead of all, and an end when even those are too many', async () => {
    const { world } = served
    const response = await new Promise<IncomingMessage>((resolve) => {
      const headers = { authorization: `Bearer ${token}` }
      httpRequest(`${served.origin}/api/v2/watch?kinds=experiment,event`, { headers }, resolve).end()
    })
    response.pause()
    // Each submit is one event, which nothing replaces: past the bound the reader is let go.
    const submitted = 12_000
    for (let at = 0; at < submitted; at++) {
      world.submit(`exp-slow-${at}`, { replicas: 2 })
      if (at % 500 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    let text = ''
    for await (const part of response as AsyncIterable<Buffer>) text += part.toString()
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
    expect(ids.length).toBeLessThan(submitted)
    expect(ids).toEqual(ids.toSorted((a, b) => a - b))
    // Where it was let go it can go on, if the ring still has it; else it is told to list again.
    const headers = { authorization: `Bearer ${token}`, 'last-event-id': String(ids.at(-1)) }
    const again = await served.fetch('/api/v2/watch?kinds=experiment,event', { headers })
    expect([200, 410]).toContain(again.status)
    await again.body?.cancel()
  })
})
