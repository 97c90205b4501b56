import { createHash, randomBytes } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, describe, expect, test } from 'vitest'
import { ranked } from './peer-io.ts'
import { type Agent, Rig, until } from './testing/rig.ts'

let rig: Rig
afterEach(() => rig.stop())

/** Far more than the sockets between two agents can hold: a kill comes before the end is sent. */
const large = randomBytes(24 * 1024 ** 2)
const digestOf = (data: Buffer) => createHash('sha256').update(data).digest('hex')
const store = (agent: Agent, data: Buffer) => agent.blobs.put(Readable.from([data]))
const requests = (agent: Agent, method: string) =>
  agent.peers.served.filter((line) => line.startsWith(`${method} /blobs/`))
/** The others in the order in which `node` gives them its copies. */
const orderOf = (node: string) =>
  ranked(node, rig.network.nodes().filter((other) => other !== node)).map((other) => rig.agent(other)) // prettier-ignore

const failures: [string, (agent: Agent) => void | Promise<void>][] = [
  ['is dead', (agent) => agent.peers.kill()],
  [
    'is known to be unreachable',
    (agent) => {
      const judged = { liveness: 'unreachable', silent_ms: 9000, usage: null } as const
      for (const { peers } of rig.agents.values()) peers.judged.set(agent.node, judged)
    },
  ],
  ['has no space', (agent) => void (agent.space.full = true)],
  [
    'dies while it receives',
    (agent) => {
      agent.peers.before = async ({ method }) => {
        if (method === 'PUT') await agent.peers.kill()
      }
    },
  ],
]

describe('replicate', () => {
  test('has one other node hold the same bytes, and sends them once', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { blobs } = rig.agent('a')
    const { sha256 } = await store(rig.agent('a'), large)
    const [first, second] = orderOf('a')
    expect(await blobs.replicate(sha256)).toEqual(['a', first!.node])
    expect(digestOf(await buffer(first!.blobs.read(sha256)))).toBe(sha256)
    expect(await second!.blobs.size(sha256)).toBeUndefined()
    expect(await blobs.replicate(sha256)).toEqual(['a', first!.node])
    expect(requests(first!, 'PUT').length).toBe(1)
  })

  test('what belongs together goes to one node, and different things to different ones', async () => {
    rig = await Rig.start('a', 'b', 'c', 'd', 'e')
    const { blobs } = rig.agent('a')
    const places = new Set<string | undefined>()
    for (let task = 0; task < 12; task += 1) {
      const holders = new Set<string | undefined>()
      for (const content of ['x', 'y', 'z']) {
        const { sha256 } = await store(rig.agent('a'), Buffer.from(content + task))
        holders.add((await blobs.replicate(sha256, undefined, `task-${task}`))[1])
      }
      expect(holders.size).toBe(1)
      for (const node of holders) places.add(node)
    }
    expect(places).toEqual(new Set(['b', 'c', 'd', 'e']))
  })

  test('alone in the cluster, one copy is all there can be', async () => {
    rig = await Rig.start('a')
    const { sha256 } = await store(rig.agent('a'), Buffer.from('x'))
    expect(await rig.agent('a').blobs.replicate(sha256)).toEqual(['a'])
  })

  test.each(failures)('falls through to the next node when the first %s', async (_, break_) => {
    rig = await Rig.start('a', 'b', 'c')
    const { sha256 } = await store(rig.agent('a'), large)
    const [first, second] = orderOf('a')
    await break_(first!)
    expect(await rig.agent('a').blobs.replicate(sha256)).toEqual(['a', second!.node])
    expect(await first!.blobs.size(sha256)).toBeUndefined()
    expect(digestOf(await buffer(second!.blobs.read(sha256)))).toBe(sha256)
    await until(async () => (await readdir(path.join(first!.data, 'blobs', 'tmp'))).length === 0)
  }) // prettier-ignore

  test('goes on trying until a node comes back', async () => {
    rig = await Rig.start('a', 'b')
    await rig.agent('b').peers.kill()
    const { sha256 } = await store(rig.agent('a'), Buffer.from('x'))
    const copying = rig.agent('a').blobs.replicate(sha256)
    await rig.agent('b').peers.start()
    expect(await copying).toEqual(['a', 'b'])
  })

  test('answers this node alone when told to stop', async () => {
    rig = await Rig.start('a', 'b')
    const { sha256 } = await store(rig.agent('a'), Buffer.from('x'))
    const stop = new AbortController()
    rig.agent('b').peers.before = async () => {
      stop.abort()
      await rig.agent('b').peers.kill()
    }
    expect(await rig.agent('a').blobs.replicate(sha256, stop.signal)).toEqual(['a'])
  })

  test('a damaged copy is found by the receiver and does not spread', async () => {
    rig = await Rig.start('a', 'b')
    const { sha256 } = await store(rig.agent('a'), Buffer.from('right'))
    await writeFile(path.join(rig.agent('a').data, 'blobs', sha256.slice(0, 2), sha256), 'wrong')
    await expect(rig.agent('a').blobs.replicate(sha256)).rejects.toMatchObject({ code: 'internal' })
    expect(await rig.agent('b').blobs.size(sha256)).toBeUndefined()
  })

  test('what is not here cannot be copied', async () => {
    rig = await Rig.start('a', 'b')
    const missing = rig.agent('a').blobs.replicate(digestOf(large))
    await expect(missing).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe('open', () => {
  test('reads it here, or from a holder, whole or in part', async () => {
    rig = await Rig.start('a', 'b')
    const { sha256 } = await store(rig.agent('a'), large)
    for (const node of ['a', 'b']) {
      const { blobs } = rig.agent(node)
      const whole = await blobs.open(sha256, ['a'])
      expect(whole.bytes).toBe(large.length)
      expect(digestOf(await buffer(whole.body))).toBe(sha256)
      const part = await blobs.open(sha256, ['a'], { start: 10, end: 19 })
      expect(part.bytes).toBe(large.length)
      expect(await buffer(part.body)).toEqual(large.subarray(10, 20))
    }
    const empty = await store(rig.agent('a'), Buffer.alloc(0))
    expect(await buffer((await rig.agent('b').blobs.open(empty.sha256, ['a'])).body)).toEqual(Buffer.alloc(0))
  })

  test('finds it on a node that nobody named', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { sha256 } = await store(rig.agent('c'), Buffer.from('x'))
    expect(await buffer((await rig.agent('a').blobs.open(sha256, ['b', 'gone'])).body)).toEqual(
      Buffer.from('x'),
    )
  })

  test('a download survives the death of its holder: the next goes on at the same byte', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { sha256 } = await store(rig.agent('a'), large)
    await store(rig.agent('b'), large)
    const { body } = await rig.agent('c').blobs.open(sha256, ['a', 'b'], { start: 7, end: large.length - 3 })
    const read: Buffer[] = []
    for await (const chunk of body as AsyncIterable<Buffer>) {
      read.push(chunk)
      if (read.length === 1) await rig.agent('a').peers.kill()
    }
    expect(digestOf(Buffer.concat(read))).toBe(digestOf(large.subarray(7, -2)))
    expect([requests(rig.agent('a'), 'GET').length, requests(rig.agent('b'), 'GET').length]).toEqual([1, 1])
  })

  test('a download waits for its only holder to come back', async () => {
    rig = await Rig.start('a', 'b')
    const { sha256 } = await store(rig.agent('a'), large)
    const { body } = await rig.agent('b').blobs.open(sha256, ['a'])
    const read: Buffer[] = []
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (read.push(chunk) !== 1) continue
      await rig.crash('a')
      await rig.restart('a')
    }
    expect(digestOf(Buffer.concat(read))).toBe(sha256)
  })

  test('a holder that falls silent is given up for the next', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { sha256 } = await store(rig.agent('a'), large)
    await store(rig.agent('b'), large)
    // It answers the head and a first byte, then nothing ever again.
    rig.agent('a').peers.serve('/blobs/', async (_from, _request, response) => {
      response.writeHead(200, { 'x-size': large.length }).write(large.subarray(0, 1))
    })
    const { body } = await rig.agent('c').blobs.open(sha256, ['a', 'b'])
    expect(digestOf(await buffer(body))).toBe(sha256)
  })

  test('says whether nobody has it or nobody could be asked', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { blobs } = rig.agent('a')
    await expect(blobs.open(digestOf(large), ['b'])).rejects.toMatchObject({ code: 'not_found' })
    await rig.agent('b').peers.kill()
    await expect(blobs.open(digestOf(large), ['b'])).rejects.toMatchObject({ code: 'node_unreachable' })
  })

  test('a body that nobody reads lets go of its holder', async () => {
    rig = await Rig.start('a', 'b')
    const { sha256 } = await store(rig.agent('a'), large)
    const { body } = await rig.agent('b').blobs.open(sha256, ['a'])
    expect(rig.agent('a').peers.connections).toBe(1)
    body.destroy()
    await until(() => rig.agent('a').peers.connections === 0)
  })
})

test('peers may look, delete, and nothing else; strange paths are not found', async () => {
  rig = await Rig.start('a', 'b')
  const { peers } = rig.agent('b')
  const { sha256 } = await store(rig.agent('a'), Buffer.from('x'))
  const status = async (method: 'GET' | 'POST' | 'DELETE', path: string, headers = {}) => {
    const response = await peers.request('a', { method, path, headers })
    response.body.resume()
    return response.status
  }
  expect(await status('GET', `/blobs/../../etc/passwd`)).toBe(404)
  expect(await status('GET', `/blobs/${sha256}`, { range: 'bytes=-5' })).toBe(400)
  expect(await status('POST', `/blobs/${sha256}`)).toBe(400)
  expect(await status('DELETE', `/blobs/${sha256}`)).toBe(204)
  expect(await rig.agent('a').blobs.size(sha256)).toBeUndefined()
})
