import { describe, expect, test } from 'vitest'
import { Sim, calm, storm, type Weather } from './testing/sim.ts'

/** `RAFT_SEED=n` repeats one seed, `RAFT_SEEDS=n` runs more of them. */
const only = process.env['RAFT_SEED']
const count = Number(process.env['RAFT_SEEDS'] ?? 60)
const seeds = only ? [Number(only)] : Array.from({ length: count }, (_, i) => i + 1)

function run(seed: number, o: { founders: number; joiners: number; weather: Weather; ms: number }): Sim {
  const sim = new Sim(seed, o)
  try {
    sim.run(o.ms)
    sim.recover()
  } catch (e) {
    throw new Error(
      `seed ${seed}, ${JSON.stringify(o)}: ${String(e)}\n${sim.history.slice(-30).join('\n')}`,
      { cause: e },
    )
  }
  return sim
}

const scenarios: [string, { founders: number; joiners: number; weather: Weather; ms: number }][] = [
  [
    'three members, everything goes wrong',
    { founders: 3, joiners: 0, weather: { ...storm, changeEvery: 0 }, ms: 3000 },
  ],
  [
    'five members, cut links, no crashes',
    { founders: 5, joiners: 0, weather: { ...storm, crashEvery: 0, changeEvery: 0 }, ms: 2000 },
  ],
  ['members come and go meanwhile', { founders: 3, joiners: 2, weather: storm, ms: 3000 }],
  [
    'slow disks, many crashes',
    {
      founders: 3,
      joiners: 1,
      weather: { ...storm, sync: 40, crashEvery: 150, partitionEvery: 0 },
      ms: 2000,
    },
  ],
]

describe('whatever happens, the invariants hold, and afterwards the cluster works', () => {
  for (const [name, o] of scenarios)
    test(`${name} (${seeds.length} seeds)`, { timeout: 120_000 }, () => {
      const total: Record<string, number> = {}
      for (const seed of seeds) {
        const { stats } = run(seed, o)
        for (const [k, v] of Object.entries(stats)) total[k] = (total[k] ?? 0) + v
      }
      if (only) return
      // A simulation in which nothing happens proves nothing.
      const least = (what: string, perSeed: number) =>
        expect(total[what], what).toBeGreaterThan(perSeed * seeds.length)
      least('elections', 1)
      least('applied', 100)
      least('reads', 5)
      if (o.weather.crashEvery > 0) least('crashes', 2)
      if (o.weather.changeEvery > 0) least('changes', 0.5)
    })
})

test('the same seed gives the same run', () => {
  const o = { founders: 3, joiners: 2, weather: storm }
  const [a, b, c] = [7, 7, 8].map((seed) => {
    const sim = new Sim(seed, o)
    sim.run(1500)
    return JSON.stringify([sim.stats, sim.history])
  })
  expect(a).toBe(b)
  expect(a).not.toBe(c)
})

test('in calm weather there is one election and no member lags', () => {
  const sim = new Sim(1, { founders: 5, joiners: 0, weather: calm })
  sim.run(5000)
  expect(sim.stats.elections).toBe(1)
  const applied = [...sim.machines.values()].map((m) => m.applied)
  expect(Math.max(...applied) - Math.min(...applied)).toBeLessThan(10)
})
