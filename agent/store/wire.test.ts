import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, later, scratchFolder, startAgent, type TestAgent } from '../cluster/wire/testing/agent.ts'
import { LocalBlobs } from './blobs.ts'
import { ReplicatedBlobs } from './replicated-blobs.ts'
import { ReplicatedStreams } from './replicated-streams.ts'
import { LocalStreams } from './streams.ts'
import type { StreamKey } from './store.ts'
import { FakeSpace, gather } from './testing/rig.ts'

// The store over the agents' own wire, mutual TLS and all: what the double of the other tests only imitates.

afterEach(cleanUp)

const nodes = () => ['node-1', 'node-2', 'node-3']
const metrics: StreamKey = { task: 'exp-1-worker-0', attempt: 1, kind: 'metrics' }

interface Store {
  readonly wire: TestAgent
  readonly blobs: ReplicatedBlobs
  readonly streams: ReplicatedStreams
}

async function three(): Promise<[Store, Store, Store]> {
  const state = new Map<number, string>()
  const store = async (member: number): Promise<Store> => {
    const wire = await startAgent(member, { state })
    state.set(member, `127.0.0.1:${wire.port}`)
    const data = await scratchFolder()
    const group = { peers: wire.peers, self: `node-${member}`, nodes }
    const blobs = new ReplicatedBlobs({ ...group, local: await LocalBlobs.open(data, new FakeSpace()) })
    const streams = new ReplicatedStreams({
      ...group,
      local: await LocalStreams.open(data, new FakeSpace()),
      log: pino({ level: 'silent' }),
    })
    later(async () => {
      await streams.close()
      await blobs.close()
    })
    return { wire, blobs, streams }
  }
  return [await store(1), await store(2), await store(3)]
}

test('a file gets its second copy, and a download outlives its holder', async () => {
  const [one, two, three_] = await three()
  const content = randomBytes(24 * 1024 ** 2)
  const { sha256 } = await one.blobs.put(Readable.from([content]))
  const [, second] = await one.blobs.replicate(sha256)
  const reader = second === 'node-2' ? three_ : two
  const { body, bytes } = await reader.blobs.open(sha256, ['node-1', second!])
  expect(bytes).toBe(content.length)
  const hash = createHash('sha256')
  let stopped = false
  for await (const chunk of body as AsyncIterable<Buffer>) {
    hash.update(chunk)
    if (!stopped) await one.wire.stop()
    stopped = true
  }
  expect(hash.digest('hex')).toBe(sha256)
})

test('records are on two agents when acknowledged, followed to the seal, and read from either', async () => {
  const [one, two, three_] = await three()
  const following = gather(two.streams.read(metrics, { from: 0, follow: true, nodes: ['node-1'] }))
  const records = Array.from({ length: 100 }, (_, n) => ({ n }))
  const done = await Promise.all(records.map((record) => one.streams.append(metrics, [record], 2)))
  expect(new Set(done.map(({ copies }) => copies))).toEqual(new Set([2]))
  const { holders } = await one.streams.seal(metrics)
  expect((await following).map(({ value }) => value)).toEqual(records)
  await one.wire.stop()
  const reader = holders[1] === 'node-2' ? three_ : two
  const read = await gather(reader.streams.read(metrics, { from: 0, follow: true, nodes: holders }))
  expect(read.map(({ value }) => value)).toEqual(records)
})
