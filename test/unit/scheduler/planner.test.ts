import { describe, expect, it } from 'vitest'
import type { State } from '../../../agent/cluster/state.ts'
import { ClusterIndex, finish } from '../../../agent/scheduler/cluster-index.ts'
import { explainSteps } from '../../../agent/scheduler/explain.ts'
import type { Hold } from '../../../agent/scheduler/holds.ts'
import { plan, planSteps } from '../../../agent/scheduler/plan.ts'
import { calm } from '../../../agent/scheduler/surroundings.ts'
import { holdsResources, isFinal } from '../../../contract/index.ts'
import { Rng } from '../../../raft/testing/rng.ts'
import { generate, hostsFor, type Job, usualMix } from '../../simulate/jobs.ts'
import type { Lab } from '../../simulate/lab.ts'
import { fifo, planner } from '../../simulate/policies.ts'
import { Simulation } from '../../simulate/simulation.ts'

/** `SCHEDULER_RUNS=100 npm test -- scheduler`: so many times as many cases. */
const times = Number(process.env.SCHEDULER_RUNS ?? 1)
const seeds = Array.from({ length: 3 * times }, (_, at) => at + 1)

const mix = (seed: number, more: Partial<Parameters<typeof generate>[0]> = {}): Job[] =>
  generate({ seed, days: 1, gpus: 24, ...usualMix, ...more })

/** No device has two owners, nothing is over-committed, and a gang is placed whole or not at all. */
function checkState({ state }: Lab): void {
  const owners = new Map<string, string>()
  const held = new Map<string, { cpu: number; memory: number }>()
  for (const task of state.tasks.values()) {
    if (!holdsResources(task.state) || task.node === null) continue
    for (const uuid of task.gpus) {
      expect(owners.get(uuid), `${uuid} is held twice`).toBeUndefined()
      owners.set(uuid, task.id)
    }
    const sum = held.get(task.node) ?? { cpu: 0, memory: 0 }
    held.set(task.node, { cpu: sum.cpu + task.resources.cpu, memory: sum.memory + task.resources.memory })
  }
  for (const [node, { cpu, memory }] of held) {
    const { allocatable } = state.nodes.get(node) ?? {}
    expect(cpu).toBeLessThanOrEqual(allocatable?.cpu ?? 0)
    expect(memory).toBeLessThanOrEqual(allocatable?.memory ?? 0)
  }
  for (const { id, tasks } of state.experiments.values()) {
    const rows = tasks.flatMap((task) => state.tasks.get(task) ?? []).filter((task) => !isFinal(task.state))
    const placed = rows.filter((task) => holdsResources(task.state)).length
    expect(
      placed === 0 || placed === rows.length || rows.some((task) => task.evict),
      `${id} is half placed`,
    ).toBe(true)
  }
}

describe('the planner in virtual time', () => {
  it.each(seeds)('places whole gangs, gives no device twice, and is never refused (seed %i)', (seed) => {
    const simulation = new Simulation({
      hosts: hostsFor(24),
      jobs: mix(seed),
      policy: planner,
      check: checkState,
    })
    const figures = simulation.run().figures()
    expect(simulation.lab.refused).toEqual([])
    expect(figures.unfinished).toBe(0)
  })

  it.each(seeds)(
    'starts who is ahead by the time that was foretold, and sooner than without backfill (seed %i)',
    (seed) => {
      // Everybody alike and limits kept to the second: the first in order stays the first.
      const jobs = mix(seed, { cpuOnly: 0 }).map((job) => ({
      ...job, owner: 'ana', team: null, priority: 'normal' as const, limit: job.seconds,
    })) // prettier-ignore
      const foretold = new Map<string, Hold>()
      const started = new Map<string, number>()
      const simulation = new Simulation({
        hosts: hostsFor(24),
        jobs,
        policy: (lab) => {
          const found = finish(planSteps(lab.index, lab.state, calm(lab.now), { tell: 'nothing' }))
          const [first] = found.holds
          if (first?.certain && !foretold.has(first.owner.id)) foretold.set(first.owner.id, first)
          for (const { workload } of found.place) started.set(workload, lab.now)
          return found.place.map(({ workload: id, placements }) => ({
            type: 'workload.place',
            id,
            placements,
          }))
        },
      })
      simulation.run()
      expect(foretold.size).toBeGreaterThan(0)
      for (const [id, { at }] of foretold)
        expect(started.get(id), `${id} waited beyond its time`).toBeLessThanOrEqual(at)
    },
  )

  it('keeps at least ten points more of the GPUs busy than one queue in order of arrival', () => {
    const jobs = generate({ seed: 3, days: 3, gpus: 64, ...usualMix })
    const busy = (policy: typeof planner) =>
      new Simulation({ hosts: hostsFor(64), jobs, policy }).run().figures().utilisation
    expect(busy(planner)).toBeGreaterThan(busy(fifo) + 0.1)
  })

  it('gives teams what they are due by weight, and lets nobody starve', () => {
    const weights = { bio: 1, nlp: 1, robots: 2, vision: 4 }
    const days = times > 1 ? 14 : 5
    // Each team has more to do than all GPUs could; jobs are short beside the days.
    const one = (team: string, seed: number) =>
      generate({ seed, days, gpus: 16, ...usualMix, load: 1, teams: [team], cpuOnly: 0 })
    const jobs = Object.keys(weights)
      .flatMap((team, at) =>
        one(team, at + 1).map((job) => ({
          ...job,
          id: `${team}-${job.id}`,
          seconds: Math.min(job.seconds, 7200),
          priority: 'normal' as const,
        })),
      )
      .toSorted((a, b) => a.at - b.at)
      .map((job) => ({ ...job, at: job.at / 4, limit: Math.max(600, 2 * job.seconds) }))
    const simulation = new Simulation({
      hosts: hostsFor(16),
      jobs,
      policy: planner,
      weights,
      untilSeconds: (days / 4) * 86_400,
    })
    const figures = simulation.run().figures(weights)
    expect(figures.fairnessError).toBeLessThan(0.03)
    expect(figures.jain).toBeGreaterThan(0.98)
  })
})

/** States in which something runs and something waits. */
function states(seed: number): { state: State; now: number; lab: Lab }[] {
  const found: { state: State; now: number; lab: Lab }[] = []
  const rng = new Rng(seed)
  const simulation = new Simulation({
    hosts: hostsFor(20),
    jobs: mix(seed, { gpus: 20, load: 1.2 }),
    policy: planner,
    check: (lab) => {
      if (lab.index.lanes.size && rng.float() < 0.1) found.push({ state: lab.state, now: lab.now, lab })
    },
  })
  simulation.run()
  return found.slice(0, 40)
}

describe('one planner for everything', () => {
  it('finds the same on an index that followed the state as on one made anew, and leaves it as it was', () => {
    const simulation = new Simulation({
      hosts: hostsFor(24),
      jobs: mix(9),
      policy: (lab) => {
        const surroundings = calm(lab.now)
        const followed = finish(planSteps(lab.index, lab.state, surroundings))
        const again = finish(planSteps(lab.index, lab.state, surroundings))
        const anew = plan(lab.state, surroundings)
        for (const other of [again, anew]) {
          expect(other.place).toEqual(followed.place)
          expect(other.preempt).toEqual(followed.preempt)
          expect(other.wait).toEqual(followed.wait)
        }
        return planner(lab)
      },
    })
    simulation.run()
  })

  it.each(seeds)(
    'explains as it places: placeable if and only if the next pass places it (seed %i)',
    (seed) => {
      let asked = 0
      for (const { state, now } of states(seed)) {
        const found = plan(state, calm(now))
        const placed = new Set(found.place.map(({ workload }) => workload))
        const index = ClusterIndex.of(state)
        for (const { members } of index.lanes.byKey.values())
          for (const { workload } of members.slice(0, 2)) {
            const why = finish(explainSteps(state, calm(now), workload.id))
            expect(why.placeable, workload.id).toBe(placed.has(workload.id))
            if (!why.placeable) expect(why.rules.length).toBeGreaterThan(0)
            asked++
          }
      }
      expect(asked).toBeGreaterThan(0)
    },
  )

  it('names who holds what is asked for: with them gone, it is placed', () => {
    let asked = 0
    for (const { state, now } of states(5)) {
      const [first] = [...ClusterIndex.of(state).lanes.byKey.values()].filter(({ pool }) => pool === 'gpu')
      const id = first?.members[0]?.workload.id
      if (!id) continue
      const why = finish(explainSteps(state, calm(now), id))
      if (why.placeable || why.reason?.code !== 'no_room') continue
      const holders = new Set(why.nodes.flatMap((node) => node.holders.map(({ task }) => task)))
      const ahead = new Set(state.experiments.keys())
      ahead.delete(id)
      const without = {
        ...state,
        tasks: state.tasks.filter((task) => !holders.has(task.id)),
        experiments: state.experiments.filter(
          (row) =>
            row.id === id ||
            row.tasks.some((task) => holdsResources(state.tasks.get(task)?.state ?? 'Accepted')),
        ),
      }
      expect(plan(without, calm(now)).place.map(({ workload }) => workload)).toContain(id)
      asked++
    }
    expect(asked).toBeGreaterThan(0)
  })
})
