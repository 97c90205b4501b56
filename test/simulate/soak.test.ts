import { expect, it } from 'vitest'
import { holdingsOf } from '../../agent/cluster/rules/holdings.ts'
import { workloadOf } from '../../agent/cluster/workloads.ts'
import { holdsResources } from '../../contract/index.ts'
import { Rng } from '../../raft/testing/rng.ts'
import { generate, hostsFor, usualMix } from './jobs.ts'
import type { Lab } from './lab.ts'
import { planner } from './policies.ts'
import { Simulation } from './simulation.ts'

/** Of virtual time. More of it: DAYS=30 npm test -- simulate/soak */
const days = Number(process.env['DAYS'] ?? 1)
const gpus = 24

/** Each device is of one task at most, on its own node; of each gang all runs or nothing. */
function check({ state }: Lab): void {
  const owners = new Map<string, string>()
  const parts = new Map<string, number>()
  for (const task of state.tasks.values()) {
    if (!holdsResources(task.state)) continue
    parts.set(task.workload, (parts.get(task.workload) ?? 0) + 1)
    for (const uuid of task.gpus) {
      expect(owners.get(uuid), uuid).toBeUndefined()
      owners.set(uuid, task.id)
      expect(state.nodes.get(task.node ?? '')?.gpus).toContain(uuid)
    }
  }
  for (const [id, running] of parts) expect(running, id).toBe(workloadOf(state, id)?.tasks.length)
}

/** Nodes are taken out and given back, until all have come back for what is submitted last: nobody would do it after that. */
function disturb(lab: Lab, rng: Rng, until: number): void {
  if (lab.now > until) {
    for (const { id, cordon } of lab.state.nodes.values())
      if (cordon) lab.must({ type: 'node.uncordon', node: id })
    return
  }
  const node = `node-${1 + rng.int(lab.state.nodes.size)}`
  if (rng.int(20) === 0) lab.propose({ type: 'node.cordon', node, reason: 'a disk is changed' })
  if (rng.int(6) === 0) lab.propose({ type: 'node.uncordon', node })
}

it('a day and more of gangs, preemption and nodes that come and go: no device twice, nothing half placed, nothing left over', () => {
  const rng = new Rng(11)
  let [decisions, leaving] = [0, 0]
  const jobs = generate({ seed: 11, days, gpus, ...usualMix, load: 1.1 })
  const begun = Date.parse('2026-03-02T00:00:00Z')
  const until = begun + (jobs.at(-1)?.at ?? 0) * 1000 - 2 * 3600_000
  const simulation = new Simulation({
    hosts: hostsFor(gpus),
    jobs,
    policy: planner,
    check: (lab) => {
      decisions++
      leaving += holdingsOf(lab.state).leaving.size
      check(lab)
      disturb(lab, rng, until)
    },
  })
  const meter = simulation.run()
  const { lab } = simulation
  expect(decisions).toBeGreaterThan(100 * days)
  expect(leaving).toBeGreaterThan(0)
  expect(meter.figures().unfinished).toBe(0)
  expect(lab.state.tasks.size).toBe(0)
  const held = holdingsOf(lab.state)
  expect([held.byNode.size, held.byWorkload.size, held.leaving.size]).toEqual([0, 0, 0])
  expect([...held.bySubject.values()].filter(({ gpu, cpu, running }) => gpu || cpu || running)).toEqual([])
  expect(lab.index.lanes.size).toBe(0)
}, 600_000)
