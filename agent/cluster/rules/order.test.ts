import { describe, expect, it } from 'vitest'
import { cluster, day, hour, placement, type Replica, submission } from '../testing/replica.ts'
import { workloadOf } from '../workloads.ts'
import { isBorrowed, monthUseOf, overQuota, sharesOf, usageOf } from './quota.ts'
import { decayed } from './shares.ts'

const gpus = (node: number, ...of: number[]) => of.map((index) => `GPU-${node}-${index}`)
const why = (replica: Replica, id: string) => {
  const workload = workloadOf(replica.state, id)
  if (!workload) throw new Error(`no workload ${id}`)
  const tasks = workload.tasks.flatMap((task) => replica.state.tasks.get(task) ?? [])
  return overQuota(replica.state, workload, tasks, replica.now)
}

describe('queues', () => {
  it('take what they are open for', () => {
    const replica = cluster([0])
    expect(replica.refusal(submission('a', { queue: 'nightly' }))).toContain(
      '/queue there is no queue nightly',
    )
    replica.do({
      type: 'queue.put',
      name: 'nightly',
      change: { priority: 'low', max_priority: 'normal', max_runtime_seconds: 3600 },
    })
    expect(replica.refusal(submission('a', { queue: 'nightly', priority: 'high' }))).toContain(
      '/priority the queue nightly takes at most class normal',
    )
    expect(replica.refusal(submission('a', { queue: 'nightly', timeout_seconds: 3601 }))).toContain(
      '/timeout',
    )
    expect(replica.refusal(submission('a', { queue: 'nightly' }))).toContain('/timeout expected a timeout')
    replica.do({ type: 'queue.put', name: 'nightly', change: { default_runtime_seconds: 600 } })
    replica.submit('a', { queue: 'nightly' })
    expect(workloadOf(replica.state, 'a')).toMatchObject({
      priority: 'low',
      limit_seconds: 600,
      queue: 'nightly',
    })
    replica.do({ type: 'queue.put', name: 'nightly', change: { open: false } })
    expect(replica.refusal(submission('b', { queue: 'nightly' }))).toContain('takes no new work')
    expect(replica.refusal({ type: 'queue.delete', name: 'nightly' })).toContain('1 workload waits or runs')
    replica.do({ type: 'experiment.stop', id: 'a' })
    replica.do({ type: 'queue.delete', name: 'nightly' })
    expect(replica.events.filter((code) => code.startsWith('queue'))).toEqual([
      'queue.created',
      'queue.changed',
      'queue.changed',
      'queue.deleted',
    ])
  })

  it('are changed only at the version that was seen, and never to what contradicts itself', () => {
    const replica = cluster([0])
    replica.do({ type: 'queue.put', name: 'q', change: {}, if_version: 0 })
    expect(replica.refusal({ type: 'queue.put', name: 'q', change: {}, if_version: 0 })).toContain(
      'precondition_failed',
    )
    expect(
      replica.refusal({ type: 'queue.put', name: 'q', change: { priority: 'high', max_priority: 'low' } }),
    ).toContain('/priority')
    expect(
      replica.refusal({
        type: 'queue.put',
        name: 'q',
        change: { max_runtime_seconds: 5, default_runtime_seconds: 6 },
      }),
    ).toContain('/default_runtime')
  })

  it('the one without a name can be closed, and set back', () => {
    const replica = cluster([0])
    replica.do({ type: 'queue.put', name: 'default', change: { open: false } })
    expect(replica.refusal(submission('a'))).toContain('takes no new work')
    replica.do({ type: 'queue.delete', name: 'default' })
    replica.submit('a')
  })
})

describe('quotas', () => {
  it('bind a user, a team and the cluster, whoever comes first', () => {
    const replica = cluster([8])
    replica.do({ type: 'quota.put', subject: 'user:*', change: { limits: { gpu: 2 } } })
    replica.do({ type: 'quota.put', subject: 'user:bob', change: { limits: { gpu: 8 } } })
    replica.do({ type: 'quota.put', subject: 'team:vision', change: { limits: { gpu: 3 } } })
    replica.do({ type: 'quota.put', subject: 'cluster', change: { limits: { gpu: 5, running: 3 } } })
    replica.submit('a', { gpu: 2 })
    replica.run('a', 'node-1', gpus(1, 0, 1))
    replica.submit('b', { gpu: 1 })
    expect(why(replica, 'b')).toEqual({
      code: 'over_quota',
      message: 'the quota of user ana is 2 GPUs at once: 2 GPUs in use, 1 GPU asked',
    })
    expect(replica.refusal(placement(replica.state, 'b', [['b-worker-0', 'node-1', gpus(1, 2)]]))).toContain(
      'quota of user ana',
    )
    replica.submit('c', { gpu: 4, owner: 'bob', team: 'vision' })
    expect(why(replica, 'c')?.message).toContain('team vision is 3 GPUs')
    replica.submit('d', { gpu: 4, owner: 'bob' })
    expect(why(replica, 'd')?.message).toContain('quota of the cluster is 5 GPUs')
    for (const id of ['e', 'f']) {
      replica.submit(id, { owner: 'bob' })
      replica.run(id, 'node-1')
    }
    replica.submit('g', { owner: 'bob' })
    expect(why(replica, 'g')?.message).toContain('3 workloads at once')
    replica.end('e', hour)
    expect(why(replica, 'g')).toBeNull()
    expect(usageOf(replica.state, 'cluster')).toMatchObject({ gpu: 2, cpu: 2000, running: 2 })
  })

  it('count the cores of a whole gang, and a workload that runs already once', () => {
    const replica = cluster([0])
    replica.do({ type: 'quota.put', subject: 'user:ana', change: { limits: { cpu: 1.5, running: 1 } } })
    replica.submit('gang', { cpu: 0.6, replicas: 3 })
    expect(why(replica, 'gang')?.message).toBe(
      'the quota of user ana is 1.5 cores at once: 0 cores in use, 1.8 cores asked',
    )
    replica.submit('array', { cpu: 0.5, array: { indices: [1, 2, 3], limit: 3 } })
    replica.place('array', [['array-worker-1', 'node-1']])
    replica.place('array', [['array-worker-2', 'node-1'], ['array-worker-3', 'node-1']]) // prettier-ignore
    expect(usageOf(replica.state, 'user:ana')).toMatchObject({ cpu: 1500, running: 1 })
  })

  it('that contradict themselves are refused', () => {
    const replica = cluster([0])
    expect(
      replica.refusal({
        type: 'quota.put',
        subject: 'team:a',
        change: { limits: { gpu: 2 }, guaranteed_gpu: 3 },
      }),
    ).toContain('/guaranteed_gpu')
    expect(
      replica.refusal({ type: 'quota.put', subject: 'cluster', change: { guaranteed_gpu: 3 } }),
    ).toContain('/guaranteed_gpu')
    expect(replica.refusal({ type: 'quota.delete', subject: 'team:a' })).toContain('not_found')
  })

  it('of a month let nothing begin once they are used, until the next', () => {
    const replica = cluster([2])
    replica.do({ type: 'prices.put', change: { currency: 'EUR', gpu: 1, gpu_models: { a100: 2 } } })
    replica.do({ type: 'quota.put', subject: 'user:ana', change: { limits: { gpu_hours_month: 10 } } })
    replica.do({ type: 'quota.put', subject: 'team:vision', change: { limits: { money_month: 30 } } })
    replica.submit('a', { gpu: 2, team: 'vision' })
    replica.run('a', 'node-1', gpus(1, 0, 1))
    replica.submit('next', { gpu: 0 })
    replica.now += 4.9 * hour
    expect(why(replica, 'next')).toBeNull()
    replica.end('a', 0.1 * hour)
    expect(why(replica, 'next')).toEqual({
      code: 'budget_used',
      message:
        'user ana has used 10 GPU-hours of its 10 GPU-hours of this month; it begins anew on 2026-04-01',
    })
    replica.submit('b', { gpu: 2, team: 'vision', owner: 'bob' })
    replica.run('b', 'node-1', gpus(1, 0, 1))
    replica.submit('c', { team: 'vision', owner: 'bob' })
    replica.now += 3 * hour
    expect(why(replica, 'c')?.message).toBe(
      'team vision has spent 32 EUR of its 30 EUR of this month; it begins anew on 2026-04-01',
    )
    replica.now = Date.parse('2026-04-01T00:00:00Z')
    expect(why(replica, 'next')).toBeNull()
  })
})

describe('what is guaranteed', () => {
  const two = () => {
    const replica = cluster([4])
    for (const team of ['a', 'b'])
      replica.do({
        type: 'quota.put',
        subject: `team:${team}`,
        change: { limits: { gpu: 4 }, guaranteed_gpu: 2 },
      })
    for (const [id, device] of [
      ['one', 0],
      ['two', 1],
      ['three', 2],
      ['four', 3],
    ] as const) {
      replica.submit(id, { gpu: 1, team: 'a', preemptible: false })
      replica.run(id, 'node-1', gpus(1, device))
    }
    replica.submit('mine', { gpu: 2, team: 'b', owner: 'bob' })
    return replica
  }
  const preempt = (...victims: string[]) => ({
    type: 'workload.preempt' as const,
    id: 'mine',
    reason: { code: 'reclaimed', message: 'lent' },
    victims: victims.map((workload) => ({ workload })),
  })

  it('comes back from those who borrowed it, as much as they borrowed and no more', () => {
    const replica = two()
    expect(replica.refusal(preempt('four'))).toContain('less than 10 minutes')
    replica.now += hour
    const before = replica.state
    expect(replica.refusal(preempt('two', 'three', 'four'))).toContain(
      'is not made to give way: it is not preemptible',
    )
    expect(replica.state).toBe(before)
    replica.do(preempt('three', 'four'))
    expect(replica.state.tasks.get('four-worker-0')?.evict).toMatchObject({
      cause: 'preempted',
      then: 'queue',
    })
    expect(replica.refusal(preempt('two'))).toContain('it is not preemptible')
  })

  it('is no reason to take for more than is guaranteed, or from the own team', () => {
    const replica = two()
    replica.now += hour
    replica.submit('much', { gpu: 3, team: 'b', owner: 'bob' })
    expect(replica.refusal({ ...preempt('four'), id: 'much' })).toContain('it is not preemptible')
    replica.submit('own', { gpu: 1, team: 'a' })
    expect(replica.refusal({ ...preempt('four'), id: 'own' })).toContain('it is not preemptible')
    const lent = (gpu: number) =>
      isBorrowed(
        replica.state,
        { owner: 'ana', team: 'a' },
        (subject) => (subject === 'team:a' ? gpu : 0),
        (subject) => usageOf(replica.state, subject),
      )
    expect([lent(2), lent(3)]).toEqual([true, false])
  })
})

describe('what was used', () => {
  it('is written to each day it was used on, with its price and what came of it', () => {
    const replica = cluster([2], { model: 'NVIDIA A100-SXM4-40GB' })
    replica.do({
      type: 'prices.put',
      change: { gpu: 1, gpu_models: { A100: 2, 'a100-sxm4': 3 }, cpu: 0.1, memory_gib: 0.01 },
    })
    replica.now = Date.parse('2026-01-31T22:00:00Z')
    replica.submit('a', { gpu: 2, cpu: 4, team: 'vision' })
    replica.run('a', 'node-1', gpus(1, 0, 1))
    replica.end('a', 5 * hour, 'Failed')
    expect([...replica.state.ledger.keys()]).toEqual(['2026-01-31/ana/vision/a', '2026-02-01/ana/vision/a'])
    const price = 2 * 3 + 4 * 0.1 + 0.01
    expect(replica.state.ledger.get('2026-01-31/ana/vision/a')).toMatchObject({
      attempts: 0, gpu_seconds: 4 * 3600, cpu_seconds: 8 * 3600, memory_gib_seconds: 2 * 3600, wasted_gpu_seconds: 4 * 3600, money: expect.closeTo(2 * price, 4),
    }) // prettier-ignore
    expect(replica.state.ledger.get('2026-02-01/ana/vision/a')).toMatchObject({
      attempts: 1,
      gpu_seconds: 6 * 3600,
      money: expect.closeTo(3 * price, 4),
    })
    expect(monthUseOf(replica.state, 'user:ana', Date.parse('2026-01-31T23:00:00Z')).gpu_hours).toBe(4)
    expect(monthUseOf(replica.state, 'team:vision', replica.now).gpu_hours).toBe(6)
  })

  it('counts each attempt, and what a retry threw away', () => {
    const replica = cluster([1])
    replica.submit('a', { gpu: 1, retries: { limit: 1, backoff_seconds: 0, max_backoff_seconds: 0 } })
    replica.run('a', 'node-1', gpus(1, 0))
    replica.end('a', hour, 'Failed')
    replica.run('a', 'node-1', gpus(1, 0))
    replica.end('a', hour)
    expect([...replica.state.ledger.values()]).toMatchObject([
      { attempts: 2, gpu_seconds: 7200, wasted_gpu_seconds: 3600 },
    ])
  })

  it('tells how long the GPUs of an attempt did nothing', () => {
    const replica = cluster([2])
    replica.submit('a', { gpu: 2, retries: { limit: 1, backoff_seconds: 0, max_backoff_seconds: 0 } })
    replica.run('a', 'node-1', gpus(1, 0, 1))
    replica.do({ type: 'task.idle', task: 'a-worker-0', attempt: 1, idle_seconds: 600 })
    replica.do({ type: 'task.idle', task: 'a-worker-0', attempt: 1, idle_seconds: 1800 })
    replica.end('a', hour, 'Failed')
    replica.run('a', 'node-1', gpus(1, 0, 1))
    replica.end('a', hour)
    expect([...replica.state.ledger.values()]).toMatchObject([
      { gpu_seconds: 4 * 3600, idle_gpu_seconds: 3600 },
    ])
  })

  it('is not made more by a host’s clock that jumped', () => {
    const replica = cluster([1])
    replica.submit('a', { gpu: 1 })
    replica.place('a', [['a-worker-0', 'node-1', gpus(1, 0)]])
    replica.report('a-worker-0', 'Running', { started_at: '1970-01-01T00:00:00Z' })
    replica.end('a', hour)
    const sum = [...replica.state.ledger.values()].reduce((all, row) => all + row.gpu_seconds, 0)
    expect(sum).toBeLessThanOrEqual(25 * 3600)
    replica.submit('b', { gpu: 1 })
    replica.place('b', [['b-worker-0', 'node-1', gpus(1, 0)]])
    replica.report('b-worker-0', 'Running', { started_at: '2030-01-01T00:00:00Z' })
    replica.end('b', hour)
    expect(replica.state.ledger.get('2026-03-10/ana//b')).toMatchObject({ attempts: 1, gpu_seconds: 0 })
  })

  it('weighs less after a week, and less with more weight', () => {
    const replica = cluster([2])
    replica.do({ type: 'quota.put', subject: 'team:heavy', change: { weight: 4 } })
    replica.submit('a', { gpu: 1, team: 'light' })
    replica.submit('b', { gpu: 1, team: 'heavy', owner: 'bob' })
    replica.run('a', 'node-1', gpus(1, 0))
    replica.run('b', 'node-1', gpus(1, 1))
    expect(sharesOf(replica.state, replica.now + hour)('team:light')).toBe(3600)
    replica.end('a', hour)
    replica.end('b', 0)
    const shares = (after: number) => ['team:light', 'team:heavy', 'user:ana', 'user:eve'].map(sharesOf(replica.state, replica.now + after)) // prettier-ignore
    expect(shares(0)).toEqual([3600, 900, 3600, 0])
    expect(shares(7 * day)).toEqual([1800, 450, 1800, 0])
  })

  it('decays by the same bits everywhere, close to what the formula says', () => {
    for (let days = 0; days < 400; days += 0.37)
      expect(decayed(1e6, days * 86_400)).toBeCloseTo(1e6 * 0.5 ** (days / 7), 6)
    expect(decayed(5, -10)).toBe(5)
  })
})

describe('reservations', () => {
  const at = (hours: number) => new Date(Date.parse('2026-03-10T00:00:00Z') + hours * hour).toISOString()
  const reserve = (id: string, from: number, to: number, more: object = {}) =>
    ({ type: 'reservation.create' as const, id, name: id, holders: ['team:vision'], nodes: ['node-1'], gpus: null, starts_at: at(from), ends_at: at(to), over_running: false, ...more }) // prettier-ignore

  it('do not overlap, unless there are GPUs enough for both', () => {
    const replica = cluster([4, 0])
    replica.do(reserve('r1', 10, 20))
    expect(replica.refusal(reserve('r2', 19, 21))).toContain('host-1 is reserved already (r1)')
    replica.do(reserve('r3', 20, 30, { gpus: 2 }))
    replica.do(reserve('r4', 25, 35, { gpus: 2 }))
    expect(replica.refusal(reserve('r5', 29, 31, { gpus: 1 }))).toContain('reserved already')
    replica.do(reserve('r6', 30, 31, { gpus: 2 }))
    expect(replica.refusal(reserve('r7', 50, 40))).toContain('/ends_at')
    expect(replica.refusal(reserve('r7', -5, -1))).toContain('/ends_at expected a time to come')
    expect(replica.refusal(reserve('r7', 50, 60, { gpus: 5 }))).toContain('host-1 has 4 GPUs')
    expect(replica.refusal(reserve('r7', 50, 60, { nodes: ['node-9'] }))).toContain('not_found')
    replica.do({ type: 'reservation.delete', id: 'r1' })
    replica.do(reserve('r8', 10, 20))
  })

  it('keep a whole node for their holders', () => {
    const replica = cluster([2])
    replica.do(reserve('r1', 2, 4))
    replica.submit('theirs')
    replica.submit('ours', { team: 'vision', owner: 'bob' })
    replica.submit('short', { timeout_seconds: 3600 })
    replica.submit('long', { timeout_seconds: 3 * 3600 })
    expect(replica.refusal(placement(replica.state, 'theirs', [['theirs-worker-0', 'node-1']]))).toContain(
      'host-1 is reserved (r1) from',
    )
    expect(replica.refusal(placement(replica.state, 'long', [['long-worker-0', 'node-1']]))).toContain(
      'is reserved',
    )
    replica.run('short', 'node-1')
    replica.now += 2 * hour
    expect(replica.refusal(placement(replica.state, 'theirs', [['theirs-worker-0', 'node-1']]))).toContain(
      'until',
    )
    replica.run('ours', 'node-1')
    replica.now += 2 * hour
    replica.run('theirs', 'node-1')
  })

  it('of some GPUs leave the others, and count what their holders use', () => {
    const replica = cluster([4])
    replica.do(reserve('r1', 0, 48, { gpus: 2 }))
    replica.submit('b', { gpu: 2 })
    replica.submit('c', { gpu: 1 })
    replica.submit('cpu')
    replica.submit('ours', { gpu: 1, team: 'vision', owner: 'bob' })
    replica.submit('more', { gpu: 1, team: 'vision', owner: 'bob' })
    replica.run('b', 'node-1', gpus(1, 0, 1))
    expect(replica.refusal(placement(replica.state, 'c', [['c-worker-0', 'node-1', gpus(1, 2)]]))).toContain(
      'reserved for others',
    )
    replica.run('cpu', 'node-1')
    replica.run('ours', 'node-1', gpus(1, 2))
    expect(replica.refusal(placement(replica.state, 'c', [['c-worker-0', 'node-1', gpus(1, 3)]]))).toContain(
      'reserved for others',
    )
    replica.run('more', 'node-1', gpus(1, 3))
  })

  it('begin where nobody else is left, unless that is asked for', () => {
    const replica = cluster([4])
    replica.submit('long', { gpu: 2 })
    replica.run('long', 'node-1', gpus(1, 0, 1))
    expect(replica.refusal(reserve('r1', 30, 40))).toContain('long-worker-0 may still run on host-1')
    replica.do(reserve('r2', 30, 40, { gpus: 2 }))
    expect(replica.refusal(reserve('r3', 30, 40, { gpus: 1 }))).toContain('may still run')
    replica.do(reserve('r4', 50, 60, { over_running: true }))
  })
})
