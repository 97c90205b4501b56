import { describe, expect, it } from 'vitest'
import type { Actor, ExperimentSpec, Inventory, ProblemError } from '../../../contract/index.ts'
import { apply } from '../apply.ts'
import type { Command, Placement, TaskReport } from '../commands.ts'
import { emptyState } from '../transaction.ts'

const GiB = 1024 ** 3
const admin: Actor = { kind: 'user', name: 'admin', rank: 'admin' }
const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString()

/** A state under commands at times of the test's choosing. */
class Replica {
  state = emptyState
  events: string[] = []
  #index = 0

  constructor() {
    this.do({ type: 'cluster.create', id: 'c', name: 'lab', ca: 'p', sealed_ca_key: 's', admin: { name: 'admin', password_hash: 'h' }, node: { name: 'host-1', address: 'h1:1' } }) // prettier-ignore
    this.do({ type: 'joinToken.create', sha256: 't', expires_at: '2027-01-01T00:00:00.000Z' })
    this.do({ type: 'node.join', token_sha256: 't', name: 'host-2', address: 'h2:1' })
    for (const n of [1, 2]) this.do(nodeReport(n))
  }

  do(command: Command, seconds = 0): void {
    const applied = apply(this.state, ++this.#index, { v: 1, at: at(seconds), actor: admin, command })
    this.state = applied.state
    this.events.push(...applied.events.map(({ code }) => code))
    if ('problem' in applied.outcome) throw applied.outcome.problem
  }

  refused(command: Command, seconds = 0): string {
    try {
      this.do(command, seconds)
    } catch (error) {
      return (error as ProblemError).message
    }
    return 'accepted'
  }

  task(id: string) {
    return this.state.tasks.get(id)
  }

  experiment(id: string) {
    return this.state.experiments.get(id)
  }

  /** Submitted, placed and begun on host-1. */
  run(id: string, more: Partial<ExperimentSpec> = {}, replicas = 1, seconds = 0): void {
    this.do(create(id, more, replicas))
    this.do(place(id, [...Array(replicas).keys()]), seconds)
    for (let n = 0; n < replicas; n++) this.do(report(id, 'Running', { started_at: at(seconds), token_sha256: 't', boot_id: 'b1' }, n)) // prettier-ignore
  }
}

const inventory = { runtimes: ['docker'], default_image: 'base', gpus: [] } as unknown as Inventory
const nodeReport = (n: number, boot_id = 'b1'): Command => ({
  type: 'node.report', node: `node-${n}`, address: `h${n}:1`, inventory, boot_id, gpus: [],
  allocatable: { cpu: 4, memory: 8 * GiB, gpu: 0, disk: 100 * GiB },
}) // prettier-ignore
const create = (id: string, more: Partial<ExperimentSpec> = {}, replicas = 1): Command => ({
  type: 'experiment.create', id, owner: 'ana',
  spec: { name: id, type: 'script', tags: [], roles: { worker: { replicas, resources: { cpu: 1, memory: GiB, gpu: 0, disk: 0 }, command: ['x'], env: {} } }, ...more },
}) // prettier-ignore
const place = (id: string, indices: readonly number[], attempt = 1, node = 'node-1'): Command => ({
  type: 'workload.place',
  id,
  placements: indices.map((n): Placement => ({ task: `${id}-worker-${n}`, attempt, node, runtime: 'docker', gpus: [] })), // prettier-ignore
})
const report = (
  id: string,
  state: TaskReport['state'],
  more: Partial<TaskReport> = {},
  n = 0,
): TaskReport => ({
  type: 'task.report',
  task: `${id}-worker-${n}`,
  attempt: 1,
  node: 'node-1',
  state,
  ...more,
})
const retries = (limit: number) => ({ retries: { limit, backoff_seconds: 10, max_backoff_seconds: 30 } })
const lost = (id: string, more: Partial<Extract<Command, { type: 'task.lost' }>> = {}): Command => ({
  type: 'task.lost', task: `${id}-worker-0`, attempt: 1, reason: { code: 'node_lost', message: 'gone' }, ...more,
}) // prettier-ignore

describe('a failure', () => {
  it('is tried again after a doubling, bounded pause, so often and no more; the earlier attempts are remembered', () => {
    const replica = new Replica()
    replica.run('e', retries(3))
    const pauses = [10, 20, 30]
    for (const [n, pause] of pauses.entries()) {
      const attempt = n + 1
      replica.do(report('e', 'Failed', { attempt, exit_code: attempt }), 100 * attempt)
      expect(replica.task('e-worker-0')).toMatchObject({ state: 'Queued', node: null, retried: attempt, not_before: at(100 * attempt + pause) }) // prettier-ignore
      expect(replica.refused(place('e', [0], attempt + 1), 100 * attempt + pause - 1)).toMatch(
        /not tried again before/,
      )
      replica.do(place('e', [0], attempt + 1), 100 * attempt + pause)
      replica.do(report('e', 'Running', { attempt: attempt + 1 }))
    }
    replica.do(report('e', 'Failed', { attempt: 4, exit_code: 4 }), 900)
    expect(replica.experiment('e')?.state).toBe('Failed')
    expect(replica.task('e-worker-0')?.past?.map(({ exit_code }) => exit_code)).toEqual([1, 2, 3])
    expect(replica.events.filter((code) => code === 'experiment.failed')).toHaveLength(1)
  })

  it('for its time is final, and a report of an attempt that is over is refused', () => {
    const replica = new Replica()
    replica.run('slow', retries(3))
    replica.do(report('slow', 'Failed', { reason: { code: 'timeout', message: 'too long' } }))
    expect(replica.experiment('slow')?.state).toBe('Failed')
    replica.run('e', retries(3))
    replica.do(report('e', 'Failed'))
    expect(replica.refused(report('e', 'Succeeded'))).toBe('attempt 1 of e-worker-0 is over')
    expect(replica.task('e-worker-0')?.state).toBe('Queued')
  })

  it('takes its gang along, which is placed again only as a whole', () => {
    const replica = new Replica()
    replica.run('g', retries(1), 2)
    replica.do(report('g', 'Failed', {}, 1), 50)
    expect(replica.task('g-worker-0')).toMatchObject({
      state: 'Running',
      evict: { cause: 'retry', then: 'queue' },
    })
    expect(replica.refused(place('g', [1], 2), 99)).toMatch(/still runs/)
    replica.do(report('g', 'Stopped'), 55)
    expect(replica.experiment('g')?.state).toBe('Queued')
    expect(replica.refused(place('g', [1], 2), 99)).toMatch(/each of the 2 waiting tasks/)
    replica.do(place('g', [0, 1], 2), 99)
    expect([0, 1].map((n) => replica.task(`g-worker-${n}`)?.retried)).toEqual([1, 1])
  })
})

it('an array has so many tasks at once, and each fails for itself', () => {
  const replica = new Replica()
  replica.do(create('a', { array: { indices: [3, 5, 9], limit: 2 } }))
  expect([3, 5, 9].map((n) => replica.task(`a-worker-${n}`)?.array_index)).toEqual([3, 5, 9])
  expect(replica.refused(place('a', [3, 5, 9]))).toMatch(/runs 2 tasks at once/)
  replica.do(place('a', [3, 9]))
  replica.do(report('a', 'Failed', {}, 3))
  expect(replica.experiment('a')).toMatchObject({ state: 'Running', stop_requested: false })
  replica.do(place('a', [5]))
  for (const n of [5, 9]) replica.do(report('a', 'Succeeded', {}, n))
  expect(replica.experiment('a')?.state).toBe('Failed')
})

describe('preemption', () => {
  const preempt = (id: string, victim: string): Command => ({
    type: 'workload.preempt', id, victims: [{ workload: victim }], reason: { code: 'preempted', message: 'needed' },
  }) // prettier-ignore
  const high = { priority: 'high' } as const
  const low = { priority: 'low', grace_seconds: 60 } as const

  it('is refused of an equal class, of what may not be, and of what began only now', () => {
    const replica = new Replica()
    replica.do(create('p', high))
    replica.run('equal', { priority: 'high', preemptible: true })
    expect(replica.refused(preempt('p', 'equal'), 3600)).toMatch(/class high/)
    replica.run('firm', { priority: 'normal' })
    expect(replica.refused(preempt('p', 'firm'), 3600)).toMatch(/not preemptible/)
    replica.run('young', low)
    expect(replica.refused(preempt('p', 'young'), 600)).toMatch(/less than 10 minutes/)
    expect(replica.refused(preempt('p', 'young'), 601)).toBe('accepted')
  })

  it('sends the whole gang back to wait, keeps its place for whom it was made, at most twice a day', () => {
    const replica = new Replica()
    replica.run('v', low, 4)
    replica.do(create('p', high, 2))
    replica.do(preempt('p', 'v'), 700)
    expect(replica.events.filter((code) => code === 'task.evicted')).toHaveLength(4)
    expect(replica.task('v-worker-0')?.evict).toMatchObject({
      cause: 'preempted',
      grace_seconds: 60,
      then: 'queue',
    })
    for (const n of [0, 1, 2, 3]) replica.do(report('v', 'Stopped', {}, n), 710)
    expect(replica.experiment('v')).toMatchObject({ state: 'Queued', preempted: [at(700)] })
    // Whoever comes first does not get what was freed for another.
    replica.do(create('thief', { priority: 'normal' }))
    expect(replica.refused(place('thief', [0]), 720)).toMatch(/not enough/)
    replica.do(place('p', [0, 1]), 720)
    expect(replica.refused(place('thief', [0]), 721)).toBe('accepted')
    expect(replica.task('v-worker-0')).not.toHaveProperty('retried')
  })
})

describe('a lost attempt', () => {
  const boots = (n: number) => nodeReport(1, `b${n}`)

  it('on hold fails, or is a retry where there are any; under the other policies it starts anew', () => {
    const replica = new Replica()
    replica.run('once')
    replica.run('again', { ...retries(1), loss_policy: { kind: 'hold' } })
    replica.run('lease', { loss_policy: { kind: 'lease', seconds: 600 } })
    for (const id of ['once', 'again', 'lease']) replica.do(lost(id))
    expect(replica.experiment('once')?.state).toBe('Failed')
    expect(replica.task('again-worker-0')).toMatchObject({ state: 'Queued', retried: 1 })
    expect(replica.task('lease-worker-0')).toMatchObject({
      state: 'Queued',
      past: [{ reason: { code: 'node_lost' } }],
    })
    expect(replica.task('lease-worker-0')?.retried).toBeUndefined()
    expect(replica.refused(lost('lease'))).toMatch(/is over/)
  })

  it('that never began starts anew under any policy, unless it begins just then', () => {
    const replica = new Replica()
    replica.do(create('e'))
    replica.do(place('e', [0]))
    replica.do(create('begins'))
    replica.do(place('begins', [0]))
    replica.do(report('begins', 'Starting', { token_sha256: 't' }))
    expect(replica.refused(lost('begins', { unstarted: true }))).toMatch(/has begun/)
    replica.do(lost('e', { unstarted: true }))
    expect(replica.task('e-worker-0')?.state).toBe('Queued')
  })

  it('is one of an earlier boot, and none of the present one', () => {
    const replica = new Replica()
    replica.run('before', retries(1))
    replica.do(create('after'))
    replica.do(place('after', [0]))
    replica.do(report('after', 'Starting', { token_sha256: 't', boot_id: 'b2' }))
    replica.do(boots(2))
    expect(replica.task('before-worker-0')).toMatchObject({
      state: 'Queued',
      past: [{ reason: { code: 'node_rebooted' } }],
    })
    expect(replica.task('after-worker-0')?.state).toBe('Starting')
    expect(replica.events).toContain('node.rebooted')
  })

  it('is confirmed by a person only of a node that does not answer', () => {
    const replica = new Replica()
    replica.run('e')
    const confirm: Command = { type: 'node.confirm_down', node: 'node-1' }
    expect(replica.refused(confirm)).toMatch(/answers/)
    replica.do({ type: 'node.liveness', node: 'node-1', unreachable: true, silent_ms: 8000 })
    replica.do(confirm)
    expect(replica.experiment('e')).toMatchObject({ state: 'Failed', reason: { code: 'node_down' } })
  })
})

it('a node that is cordoned takes nothing; announced to restart, it does again with its next boot', () => {
  const replica = new Replica()
  replica.do(create('e'))
  replica.do({
    type: 'node.reboot_notice',
    node: 'node-1',
    reason: 'kernel',
    deadline: at(0),
    grace_seconds: null,
  })
  expect(replica.events).toContain('node.drained')
  expect(replica.refused(place('e', [0]))).toMatch(/cordoned/)
  replica.do(nodeReport(1, 'b1'))
  expect(replica.refused(place('e', [0]))).toMatch(/cordoned/)
  replica.do(nodeReport(1, 'b2'))
  expect(replica.refused(place('e', [0]))).toBe('accepted')
})

it('a task that idles for as long as its spec allows is stopped for good', () => {
  const replica = new Replica()
  replica.run('e', { ...retries(2), idle_stop_seconds: 900 })
  const idle = (idle_seconds: number): Command => ({
    type: 'task.idle',
    task: 'e-worker-0',
    attempt: 1,
    idle_seconds,
  })
  replica.do(idle(600))
  expect(replica.task('e-worker-0')?.evict ?? null).toBeNull()
  replica.do(idle(900))
  replica.do(report('e', 'Stopped'))
  expect(replica.experiment('e')).toMatchObject({ state: 'Stopped', reason: { code: 'idle' } })
})
