import { afterEach, beforeEach, expect, it } from 'vitest'
import { World } from '../services/testing/world.ts'
import { HealthLog } from './health-log.ts'

let world: World
let now: number
let log: HealthLog
beforeEach(async () => {
  world = await World.create(3)
  now = 0
  log = new HealthLog(world.cluster, { warn: () => undefined }, () => now)
})
afterEach(async () => {
  log.stop()
  await world.close()
})

const judged = (node: string, liveness: 'ready' | 'suspect' | 'unreachable', silent_ms = 0) =>
  world.log.liveness.set(node, { liveness, silent_ms, usage: null })
async function after(ms: number): Promise<void> {
  now += ms
  await log.look()
}
const told = () =>
  world.log.events
    .filter(({ code }) => /leader_changed|unreachable|returned/.test(code))
    .map(({ message }) => message)
const since = (node: string) => world.cluster.state().nodes.get(node)?.unreachable_since

it('a node that falls silent and returns is told of once each, a flapping one at most once a minute', async () => {
  await after(0)
  judged('node-2', 'suspect', 5_000)
  await after(1_000)
  expect(told()).toEqual([])
  judged('node-2', 'unreachable', 8_000)
  for (let n = 0; n < 5; n++) await after(1_000)
  expect(told()).toEqual([expect.stringMatching(/^host-2 does not answer since 2026-03-01T08:/)])
  expect(since('node-2')).toMatch(/^2026-/)
  judged('node-2', 'ready')
  for (let n = 0; n < 5; n++) await after(1_000)
  expect(told()[1]).toMatch(/^host-2 answers again, after \d+s$/)
  expect(since('node-2')).toBeNull()
  judged('node-2', 'unreachable', 8_000)
  await after(30_000)
  expect(told()).toHaveLength(2)
  await after(30_000)
  expect(told()).toHaveLength(3)
})

it('a new leader takes nobody for returned before it could have missed him', async () => {
  await after(0)
  judged('node-3', 'unreachable', 9_000)
  await after(1_000)
  world.log.setLeader('node-2')
  await after(1_000)
  world.log.setLeader('node-1')
  judged('node-3', 'ready')
  await after(0)
  await after(8_000)
  expect(told()).toHaveLength(1)
  await after(2_000)
  expect(told()).toHaveLength(2)
})

it('a leader is told of when it lasts, and when it is another than before', async () => {
  await after(0)
  await after(2_000)
  expect(world.cluster.state().cluster.get('self')?.leader).toBe('node-1')
  const second = world.agents[1]
  if (!second) throw new Error('expected a second agent')
  const other = new HealthLog(second, { warn: () => undefined }, () => now)
  world.log.setLeader('node-2')
  await other.look()
  now += 1_999
  await other.look()
  expect(told()).toEqual([])
  for (let n = 0; n < 3; n++) {
    now += 1_000
    await other.look()
  }
  expect(told()).toEqual(['host-2 leads now, before it host-1'])
  other.stop()
})
