import { describe, expect, it } from 'vitest'
import { finish } from '../../agent/scheduler/cluster-index.ts'
import { explainSteps } from '../../agent/scheduler/explain.ts'
import { plan } from '../../agent/scheduler/plan.ts'
import { calm } from '../../agent/scheduler/surroundings.ts'
import type { ExperimentSpec } from '../../contract/index.ts'
import { GiB, Lab } from './lab.ts'
import { hostsFor } from './jobs.ts'
import { planner } from './policies.ts'

const hour = 3600_000

const spec = (gpu: number, more: Partial<ExperimentSpec> = {}): ExperimentSpec => ({
  name: 'work', type: 'script', tags: [],
  roles: { worker: { replicas: 1, resources: { cpu: 1, memory: GiB, gpu, disk: 0 }, command: ['train'], env: {} } },
  ...more,
}) // prettier-ignore

function reserve(lab: Lab, from: number, to: number, gpus: number | null = null): void {
  const at = (hours: number) => new Date(lab.now + hours * hour).toISOString()
  lab.must({
    type: 'reservation.create', id: 'r', name: 'paper', holders: ['user:eve'], nodes: ['node-1'], gpus,
    over_running: true, starts_at: at(from), ends_at: at(to),
  }) // prettier-ignore
}

/** What the planner decides now is done, and what is placed begins. */
function decide(lab: Lab): void {
  for (const command of planner(lab)) {
    lab.must(command)
    if (command.type !== 'workload.place') continue
    for (const { task } of command.placements) lab.begin(task)
  }
}

const explain = (lab: Lab, id: string) => finish(explainSteps(lab.state, calm(lab.now), id))
const task = (lab: Lab, id: string) => lab.state.tasks.get(`${id}-worker-0`)

describe('what is reserved', () => {
  it('is waited for until its end, and that is told', () => {
    const lab = new Lab(hostsFor(8))
    reserve(lab, -1, 5)
    lab.submit('a', spec(4, { timeout_seconds: 3600 }), 'ana')
    lab.submit('b', spec(8, { timeout_seconds: 3600 }), 'ana')
    const end = new Date(lab.now + 5 * hour).toISOString()
    expect(explain(lab, 'a')).toMatchObject({
      reason: { code: 'reserved' },
      expected_start: { at: end, confidence: 'high' },
    })
    // It goes after the other, which will then run for an hour and its grace.
    const after = new Date(lab.now + 6 * hour + 10_000).toISOString()
    expect(explain(lab, 'b')).toMatchObject({ expected_start: { at: after, confidence: 'low' } })
    expect(plan(lab.state, calm(lab.now)).holds).toMatchObject([
      { owner: { id: 'a' }, at: lab.now + 5 * hour },
    ])
  })

  it('counts a part of a node as kept, and the rest as free', () => {
    const lab = new Lab(hostsFor(8))
    reserve(lab, -1, 5, 6)
    lab.submit('a', spec(2), 'ana')
    lab.submit('b', spec(1), 'ana')
    decide(lab)
    expect(task(lab, 'a')?.state).toBe('Running')
    expect(explain(lab, 'b')).toMatchObject({ placeable: false })
  })

  it('has work of others without a time limit make room when it begins, with the reason', () => {
    const lab = new Lab(hostsFor(8))
    lab.submit('endless', spec(2), 'ana')
    lab.submit('limited', spec(2, { timeout_seconds: 20 * 3600 }), 'ana')
    lab.submit('own', spec(2), 'eve')
    decide(lab)
    reserve(lab, 2, 10)
    lab.now += hour
    decide(lab)
    expect(task(lab, 'endless')?.evict ?? null).toBeNull()
    lab.now += hour
    decide(lab)
    expect(task(lab, 'endless')?.evict).toMatchObject({ cause: 'reserved', then: 'queue', grace_seconds: 10 })
    expect(task(lab, 'limited')?.evict ?? null).toBeNull()
    expect(task(lab, 'own')?.evict ?? null).toBeNull()
    lab.end('endless-worker-0', 'Stopped')
    expect(task(lab, 'endless')?.state).toBe('Queued')
    expect(plan(lab.state, calm(lab.now)).evict).toEqual([])
    expect(explain(lab, 'endless')).toMatchObject({ placeable: false, reason: { code: 'reserved' } })
  })

  it('takes back no more devices than it lacks, from those who lose least', () => {
    const lab = new Lab(hostsFor(8))
    lab.submit('old', spec(4), 'ana')
    decide(lab)
    lab.now += hour
    lab.submit('young', spec(2), 'ana')
    decide(lab)
    reserve(lab, 1, 10, 4)
    lab.now += hour
    expect(plan(lab.state, calm(lab.now)).evict).toMatchObject([{ id: 'young', tasks: ['young-worker-0'] }])
  })
})
