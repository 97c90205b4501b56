import { Map as ImmutableMap } from 'immutable'
import { expect, it } from 'vitest'
import { holdingsOf, nominatedIn } from '../../agent/cluster/rules/holdings.ts'
import { generate, hostsFor, usualMix } from './jobs.ts'
import { planner } from './policies.ts'
import { Simulation } from './simulation.ts'

/** In one order, whatever order rows came in. */
function plain(held: ReturnType<typeof holdingsOf>): unknown {
  const sorted = (entries: Iterable<readonly [string, unknown]>) =>
    [...entries].toSorted(([a], [b]) => (a < b ? -1 : 1))
  const used = [...held.bySubject].filter(([, use]) => Object.values(use).some((value) => value !== 0))
  return {
    byNode: sorted([...held.byNode].map(([node, tasks]) => [node, sorted(tasks)])),
    bySubject: sorted(used),
    byWorkload: sorted(held.byWorkload),
    leaving: sorted(held.leaving),
  }
}

it('what is held, followed row by row, is what a look at all rows finds', () => {
  let compared = 0
  let leaving = 0
  const simulation = new Simulation({
    hosts: hostsFor(24),
    jobs: generate({ seed: 4, days: 1, gpus: 24, ...usualMix, load: 1.3 }),
    policy: planner,
    check: ({ state }) => {
      const followed = holdingsOf(state)
      leaving += followed.leaving.size
      const anew = { ...state, tasks: ImmutableMap(state.tasks.toArray()) }
      expect(plain(followed)).toEqual(plain(holdingsOf(anew)))
      const named = [...state.experiments.values()].filter((row) => row.nominated).map((row) => row.id)
      expect([...nominatedIn(state)].toSorted()).toEqual(named.toSorted())
      compared++
    },
  })
  simulation.run()
  expect(compared).toBeGreaterThan(100)
  expect(leaving).toBeGreaterThan(0)
})
