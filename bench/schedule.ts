import { ClusterIndex, finish } from '../agent/scheduler/cluster-index.ts'
import { type Plan, planSteps } from '../agent/scheduler/plan.ts'
import { calm } from '../agent/scheduler/surroundings.ts'
import { holdsResources } from '../contract/index.ts'
import { Rng } from '../raft/testing/rng.ts'
import { generate, hostsFor, specOf, usualMix } from '../test/simulate/jobs.ts'
import { Lab } from '../test/simulate/lab.ts'
import { type Row, row } from './report.ts'

export interface ScheduleOptions {
  readonly nodes: number
  readonly pending: number
  readonly passes: number
  readonly events: number
}

export const usualSchedule: ScheduleOptions = { nodes: 1000, pending: 10_000, passes: 11, events: 400 }

/**
 * The planner alone, on a cluster at 95 % load with gangs, quotas and reservations: how long a pass over everything
 * takes, how long after one change its outcome is known, and how long the agent's loop is held at most. Planning waits
 * for nothing, so what else the machine does is in the figures too.
 */
export function schedule(options: ScheduleOptions): Row[] {
  const lab = filled(options)
  const slices = new Slices()
  const passes = Array.from({ length: options.passes }, () => slices.anew(lab))
  const first = slices.plan(lab, 'all')
  place(lab, first)
  const decisions = incremental(lab, options.events, slices)
  const p99 = decisions.toSorted((a, b) => a - b)[Math.floor(decisions.length * 0.99)] ?? 0
  return [
    row('planner full pass', 'ms', passes, [], true),
    row('planner incremental decision p99', 'ms', [p99], [], true),
    row('planner incremental decision', 'ms', decisions, [], true),
    row('longest slice', 'ms', [slices.longest], [], true),
  ]
}

/** Of 95 % of the GPUs somebody runs something; as many wait as were asked for. */
function filled({ nodes, pending }: ScheduleOptions): Lab {
  const gpus = nodes * 8
  const lab = new Lab(hostsFor(gpus))
  const jobs = generate({ seed: 1, days: 4, gpus, ...usualMix, cpuOnly: 0.05 })
  const begun = lab.now
  let held = 0
  let next = 0
  while (held < gpus * 0.95 && next < jobs.length) {
    for (const job of jobs.slice(next, (next += 250))) lab.submit(job.id, specOf(job), job.owner)
    held += place(lab, finish(planSteps(lab.index, lab.state, calm(lab.now), { tell: 'nothing' })))
    lab.now += 20_000
  }
  for (const job of jobs.slice(next, next + pending)) lab.submit(job.id, specOf(job), job.owner)
  for (const [team, gpu] of [
    ['bio', gpus / 3],
    ['nlp', gpus / 4],
  ] as const)
    // prettier-ignore
    lab.must({ type: 'quota.put', subject: `team:${team}`, change: { limits: { gpu: Math.round(gpu) }, weight: 2, guaranteed_gpu: 64 } })
  for (let at = 0; at < 10; at++)
    lab.must({
      type: 'reservation.create', id: `r${at}`, name: `paper-${at}`, holders: ['team:vision'], over_running: true, gpus: at % 2 ? 4 : null,
      nodes: Array.from({ length: 10 }, (_, each) => `node-${((at * 40 + each) % nodes) + 1}`),
      starts_at: new Date(begun + 6 * 3600_000).toISOString(), ends_at: new Date(begun + 30 * 3600_000).toISOString(),
    }) // prettier-ignore
  return lab
}

/** As the leader's loop proposes it; who is asked to leave does not yet. */
function place(lab: Lab, { place: placed, preempt, wait }: Plan): number {
  let gpus = 0
  for (const preemption of preempt) lab.propose({ type: 'workload.preempt', ...preemption })
  for (const { workload: id, placements } of placed) {
    if (lab.propose({ type: 'workload.place', id, placements }) !== undefined) continue
    for (const { task, gpus: uuids } of placements) {
      lab.begin(task)
      gpus += uuids.length
    }
  }
  for (const { workload: id, reason } of wait) lab.propose({ type: 'workload.wait', id, reason })
  return gpus
}

/** Milliseconds: of the clock, since what the system tells of a thread's own time goes in ticks of several. */
const worked = (): number => performance.now()

/** Something ends or is submitted; then how long until all that follows from it is known. */
function incremental(lab: Lab, events: number, slices: Slices): number[] {
  const rng = new Rng(7)
  const more = generate({ seed: 2, days: 1, gpus: 512, ...usualMix }).map((job) => ({
    ...job,
    id: `new-${job.id}`,
  }))
  const running = lab.state.tasks.valueSeq().filter((task) => holdsResources(task.state)).map(({ id }) => id).toArray() // prettier-ignore
  const times: number[] = []
  for (let at = 0; at < events; at++) {
    lab.now += 1000
    const before = lab.state
    const isEnd = at % 2 === 0
    const job = more[at]
    const changed = lab.quietly(() => {
      if (isEnd) {
        const [task = ''] = running.splice(rng.int(running.length), 1)
        if (holdsResources(lab.state.tasks.get(task)?.state ?? 'Stopped')) lab.end(task)
      } else if (job) lab.submit(job.id, specOf(job), job.owner)
    })
    if (lab.state === before) continue
    const begin = worked()
    for (const one of changed) lab.follow(one)
    const found = slices.plan(lab, 'cause')
    times.push(worked() - begin)
    place(lab, found)
  }
  return times
}

/** Steps as the planner's loop makes them, and the longest that was not let go of. */
class Slices {
  longest = 0

  /** As a new leader plans: the index is made first. */
  anew({ state, now }: Lab): number {
    const begin = worked()
    const index = this.#through(ClusterIndex.build(state))
    this.#through(planSteps(index, state, calm(now)))
    return worked() - begin
  }

  plan(lab: Lab, tell: 'all' | 'cause'): Plan {
    return this.#through(planSteps(lab.index, lab.state, calm(lab.now), { tell }))
  }

  #through<T>(steps: Generator<void, T, void>): T {
    let begin = worked()
    for (;;) {
      const step = steps.next()
      const now = worked()
      this.longest = Math.max(this.longest, now - begin)
      if (step.done) return step.value
      if (now - begin >= 4) begin = now
    }
  }
}
