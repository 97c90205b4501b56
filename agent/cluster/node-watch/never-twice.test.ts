import { describe, expect, it } from 'vitest'
import type { Host } from './testing/host.ts'
import { type Faults, World } from './testing/world.ts'

/** Small, fast, and the same everywhere (mulberry32). */
function randomFrom(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Partitions, deposed leaders, kill -9 of agents, power cuts, an admin who tells the truth. */
function disturb(world: World): void {
  const host = world.pick(world.hosts)
  if (!host) return
  if (world.chance(0.08)) world.submit()
  if (world.chance(0.04)) host.link = world.pick(['up', 'down', 'deposed', 'aside'] as const) ?? 'up'
  if (host.link === 'deposed') host.deposedAt ||= world.now
  else host.deposedAt = 0
  if (world.chance(0.03)) {
    if (host.alive) host.kill()
    else host.revive()
  }
  if (world.chance(0.01)) host.powerOff()
  if (world.chance(0.05)) host.powerOn()
  if (world.chance(0.02)) world.electedAt = world.now
  // Who leads then may be who led before.
  if (world.chance(world.leading ? 0.01 : 0.2)) world.leading = !world.leading
  if (!host.on && world.chance(0.1)) world.propose({ type: 'node.confirm_down', node: host.id })
  if (world.chance(0.01)) drain(world, host.id)
  if (world.chance(0.03)) world.propose({ type: 'node.uncordon', node: host.id })
  const any = world.pick([...world.state.experiments.keys()])
  if (any && world.chance(0.01)) world.propose({ type: 'experiment.stop', id: any })
}

/** One host stays so from the thirtieth second on, and work goes on. */
const afflicted = (so: (host: Host) => void) => (world: World) => {
  if (world.chance(0.08)) world.submit()
  const [host] = world.hosts
  if (host && world.now > 1_030) so(host)
}

/** It never reaches the leader, which loses touch with all others now and then and stays in office. */
function outOfTouch(world: World): void {
  afflicted((host) => (host.link = 'aside'))(world)
  if (world.chance(world.leading ? 0.2 : 0.5)) world.leading = !world.leading
}

function drain(world: World, node: string): void {
  const deadline = '2026-01-01T00:00:00.000Z'
  world.propose({ type: 'node.drain', node, reason: '', deadline, grace_seconds: 3, power_off: false })
}

/** Of virtual time, with faults. */
const seconds = 400

function run(seed: number, faults: Faults = {}, happens = disturb): World {
  const world = new World(randomFrom(seed), faults)
  for (let at = 0; at < seconds; at++) {
    happens(world)
    world.tick()
  }
  return world
}

function heal(world: World): void {
  world.leading = true
  for (const host of world.hosts) {
    host.link = 'up'
    host.powerOn()
    host.revive()
    world.propose({ type: 'node.uncordon', node: host.id })
  }
  for (let at = 0; at < 60; at++) world.tick()
}

// More of them: SEEDS=5000 npm test -- never-twice
const seeds = Number(process.env['SEEDS'] ?? 12)

describe('a task, whatever becomes of its hosts', () => {
  it(
    'never runs twice at once under hold and lease, and is not forgotten when all is well again',
    () => {
      for (let seed = 1; seed <= seeds; seed++) {
        const world = run(seed)
        expect(world.overlaps, `seed ${seed}`).toEqual([])
        expect(run(seed, {}, outOfTouch).overlaps, `seed ${seed}, out of touch`).toEqual([])
        heal(world)
        // A tick may fall between a placement and its start: what stays so is lost.
        const stuck = new Set(world.unsettled())
        for (let at = 0; at < 20; at++) {
          world.tick()
          const now = new Set(world.unsettled())
          for (const one of stuck) if (!now.has(one)) stuck.delete(one)
        }
        expect([...stuck], `seed ${seed}`).toEqual([])
      }
    },
    60_000 + seeds * 5_000,
  )

  it.each<[string, Faults, (world: World) => void]>([
    ['without the lease keeper', { noKeeper: true }, afflicted((host) => host.kill())],
    [
      'with nodes that believe a deposed leader',
      { gullible: true },
      afflicted((host) => {
        host.link = 'deposed'
        host.deposedAt ||= 1_030
      }),
    ],
    ['with a leader that asks no voter whether a lease was renewed', { forgetful: true }, outOfTouch],
    [
      'with a leader that waits for no lease to end',
      { impatient: true },
      afflicted((host) => (host.link = 'down')),
    ],
  ])(
    'would, %s: the check sees it',
    (_, faults, happens) => {
      const found = Array.from({ length: 400 }, (__, seed) => seed + 1).find(
        (seed) => run(seed, faults, happens).overlaps.length > 0,
      )
      expect(found).toBeDefined()
    },
    600_000,
  )
})
