import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { ProblemError, type Usage } from '../../../contract/index.ts'
import type { NodeLiveness, PeerHandler, PeerRequest, PeerResponse } from '../cluster.ts'
import { Heartbeat } from './heartbeat.ts'
import { judge, Ledger } from './judge.ts'
import { Lines } from './testing/agent.ts'

const usageOf = (load1: number): Usage => ({
  at: '2026-01-31T12:00:00Z',
  cpu_percent: 1,
  memory_used: 1,
  memory_total: 2,
  disk_free: 1,
  disk_total: 2,
  load1,
  disk_low: false,
  gpus: [],
})

test.each([
  [0, false, 'ready'],
  [3_999, false, 'ready'],
  [4_000, false, 'suspect'],
  [7_999, false, 'suspect'],
  [8_000, false, 'unreachable'],
  [100, true, 'suspect'],
  [50_000, true, 'suspect'],
] as const)('silent for %i ms, restarting %s: %s', (silent, restarting, expected) => {
  expect(judge(silent, restarting)).toBe(expected)
})

const livenessIn = (table: ReadonlyMap<string, NodeLiveness>) =>
  Object.fromEntries([...table].map(([node, row]) => [node, row.liveness]))

test('a ledger begins with everybody ready, and counts a joiner from its first sight', () => {
  const none = new Map<string, number>()
  const ledger = new Ledger(
    new Map([['a', { liveness: 'unreachable', silent_ms: 99_000, usage: usageOf(1) }]]),
  )
  expect(ledger.table(['a', 'b'], 1_000, none).get('a')).toEqual({
    liveness: 'ready',
    silent_ms: 0,
    usage: usageOf(1),
  })
  ledger.heard('a', 6_000, null)
  expect(livenessIn(ledger.table(['a', 'b', 'c'], 6_500, none))).toEqual({
    a: 'ready',
    b: 'suspect',
    c: 'ready',
  })
  expect(ledger.table(['b'], 9_000, none).get('b')?.silent_ms).toBe(8_000)
})

/** Agents whose requests go straight to each other's handlers, on one clock that the test moves. */
class World {
  now = 0
  leader: string | null = 'a'
  readonly down = new Set<string>()
  /** Vanished without a word: what is asked of them waits for as long as whoever asks. */
  readonly mute = new Set<string>()
  readonly tables = new Map<string, ReadonlyMap<string, NodeLiveness>>()
  readonly asked: string[] = []
  readonly learned = new Map<string, ReadonlyMap<number, string>>()
  readonly hints: string[] = []
  readonly #handlers = new Map<string, PeerHandler>()
  readonly beats: Record<string, Heartbeat>

  constructor(usage: (node: string) => Promise<Usage> = async () => usageOf(1)) {
    const nodes = ['a', 'b', 'c']
    this.beats = Object.fromEntries(
      nodes.map((self) => [
        self,
        new Heartbeat({
          peers: {
            request: (to, request) => this.#carry(self, to, request),
            serve: (_, handler) => void this.#handlers.set(self, handler),
            setLiveness: (table) => void this.tables.set(self, table),
          },
          self,
          leader: () => this.leader,
          nodes: () => nodes,
          usage: () => usage(self),
          addresses: {
            learned: () => this.learned.get(self) ?? new Map<number, string>(),
            hint: (member, address) => this.hints.push(`${self}: ${member} at ${address}`),
          },
          clock: () => this.now,
          log: new Lines().log,
        }),
      ]),
    )
  }

  /** A second passes, and every agent that is not down beats. */
  async second(): Promise<void> {
    this.now += 1_000
    for (const [node, heartbeat] of Object.entries(this.beats))
      if (!this.down.has(node)) await heartbeat.beat()
  }

  async seconds(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.second()
  }

  seenBy(node: string): Record<string, string> {
    return livenessIn(this.tables.get(node) ?? new Map<string, NodeLiveness>())
  }

  async #carry(from: string, to: string, request: PeerRequest): Promise<PeerResponse> {
    this.asked.push(`${from}→${to}`)
    const handler = this.#handlers.get(to)
    if (this.mute.has(to))
      await new Promise((_, reject) => request.signal?.addEventListener('abort', reject, { once: true }))
    if (this.down.has(to) || !handler) throw new ProblemError('node_unreachable')
    let answer = ''
    const response = { setHeader: () => undefined, end: (body: string) => (answer = body) }
    const incoming = Readable.from([Buffer.from(request.body as string)])
    await handler(from, incoming as Parameters<PeerHandler>[1], response as never)
    return { status: 200, headers: {}, body: Readable.from([Buffer.from(answer)]) }
  }
}

const all = (liveness: string) => ({ a: liveness, b: liveness, c: liveness })

test('every node sees the table of the leader, with the figures of all', async () => {
  const world = new World(async (node) => usageOf(node.charCodeAt(0)))
  await world.seconds(3)
  for (const node of ['a', 'b', 'c']) expect(world.seenBy(node)).toEqual(all('ready'))
  expect(world.tables.get('c')?.get('b')?.usage?.load1).toBe('b'.charCodeAt(0))
})

test('a silent node becomes suspect, then unreachable, and is ready again when it is back', async () => {
  const world = new World()
  await world.seconds(2)
  world.down.add('c')
  await world.seconds(3)
  expect(world.seenBy('b').c).toBe('ready')
  await world.second()
  expect(world.seenBy('b').c).toBe('suspect')
  await world.seconds(4)
  expect(world.seenBy('b')).toEqual({ a: 'ready', b: 'ready', c: 'unreachable' })
  world.down.delete('c')
  await world.second()
  await world.second()
  expect(world.seenBy('b')).toEqual(all('ready'))
})

test('without a leader all is unknown at once, but the last figures stay; a new leader begins with all ready', async () => {
  const world = new World()
  await world.seconds(3)
  world.leader = null
  await world.second()
  expect(world.seenBy('b')).toEqual(all('unknown'))
  expect(world.tables.get('b')?.get('c')).toEqual({ liveness: 'unknown', silent_ms: null, usage: usageOf(1) })
  world.down.add('a')
  world.leader = 'b'
  await world.second()
  expect(world.seenBy('c')).toEqual(all('ready'))
  await world.seconds(8)
  expect(world.seenBy('c')).toEqual({ a: 'unreachable', b: 'ready', c: 'ready' })
})

test('a leader that does not answer is believed for 4 s; meanwhile the others are told where this node is', async () => {
  const world = new World()
  await world.seconds(2)
  world.down.add('a')
  world.asked.length = 0
  await world.seconds(3)
  expect(world.seenBy('b')).toEqual(all('ready'))
  expect(world.asked).toContain('b→c')
  await world.second()
  expect(world.seenBy('b')).toEqual(all('unknown'))
})

test('an announced restart is suspect for a minute, not lost, even when the leader changes meanwhile', async () => {
  const world = new World()
  await world.seconds(2)
  await world.beats['c']?.announceRestart()
  world.down.add('c')
  await world.second()
  expect(world.seenBy('b').c).toBe('suspect')
  world.leader = 'b'
  await world.seconds(58)
  expect(world.seenBy('a').c).toBe('suspect')
  await world.seconds(2)
  expect(world.seenBy('a').c).toBe('unreachable')
  world.down.delete('c')
  await world.second()
  await world.second()
  expect(world.seenBy('a').c).toBe('ready')
})

test('a leader that stood still does not take its own sleep for the silence of others', async () => {
  const world = new World()
  await world.seconds(2)
  world.now += 30_000
  await world.second()
  expect(world.seenBy('a')).toEqual(all('ready'))
})

test('a usage that cannot be measured, or takes for ever, does not stop the heartbeat', async () => {
  const world = new World((node) =>
    node === 'b' ? Promise.reject(new Error('no tool')) : new Promise(() => undefined),
  )
  await world.seconds(3)
  expect(world.seenBy('c')).toEqual(all('ready'))
  expect(world.tables.get('c')?.get('b')?.usage).toBeNull()
})

test('what a node and its leader learned of addresses is passed on to each other', async () => {
  const world = new World()
  world.learned.set('a', new Map([[3, '10.0.0.3:1']])).set('b', new Map([[4, '10.0.0.4:1']]))
  await world.second()
  expect(world.hints.toSorted()).toEqual(['a: 4 at 10.0.0.4:1', 'b: 3 at 10.0.0.3:1', 'c: 3 at 10.0.0.3:1'])
})

test('the clocks of a new leader begin with its election, though its heartbeat still waits for the one before', async () => {
  const world = new World()
  await world.seconds(2)
  world.mute.add('a')
  world.now += 1_000
  const { b } = world.beats
  const waiting = b?.beat()
  await Promise.resolve()
  world.now += 1_500
  world.leader = 'b'
  await b?.leaderChanged()
  await waiting
  for (let seconds = 0; seconds < 8; seconds++) {
    world.now += 1_000
    await b?.beat()
  }
  expect(world.seenBy('b').a).toBe('unreachable')
})
