import { beforeEach, describe, expect, it } from 'vitest'
import type { ProblemError } from '../../contract/index.ts'
import { cluster, GiB, hour, type Replica } from '../cluster/testing/replica.ts'
import { createOrder, type OrderService } from './order.ts'
import { admin, World } from './testing/world.ts'
import { usageReport } from './usage.ts'

const query = { page_size: 100, consistency: 'strong' } as const
let world: World
let order: OrderService
beforeEach(async () => {
  world = await World.create(2)
  order = createOrder(world.deps())
})
const problem = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    ({ code, message, errors = [] }: ProblemError) =>
      [code, message, ...errors.map((each) => each.pointer)].join(' '),
  )

describe('queues, quotas, prices and reservations', () => {
  it('are shown as they were set, the default queue always', async () => {
    expect((await order.queues(admin, query)).items).toMatchObject([
      { name: 'default', open: true, resource_version: 0 },
    ])
    const made = await order.putQueue(admin, 'a-night', {
      max_runtime: 3600,
      priority: 'low',
      constraints: [],
    })
    expect(made).toMatchObject({
      name: 'a-night',
      max_runtime_seconds: 3600,
      default_runtime_seconds: null,
      priority: 'low',
    })
    const changed = await order.putQueue(
      admin,
      'a-night',
      { open: false, max_runtime: null },
      made.resource_version,
    )
    expect(changed).toMatchObject({ open: false, max_runtime_seconds: null, priority: 'low' })
    expect(await problem(order.putQueue(admin, 'a-night', { open: true }, made.resource_version))).toContain(
      'precondition_failed',
    )
    expect(await problem(order.putQueue(admin, '../x', {}))).toContain('/path/queue')
    expect((await order.queues(admin, query)).items.map(({ name }) => name)).toEqual(['default', 'a-night'])
    await order.deleteQueue(admin, 'a-night')
    expect(await problem(order.deleteQueue(admin, 'a-night'))).toContain('not_found')
  })

  it('say what is used of a quota', async () => {
    const made = await order.putQuota(admin, 'user:ana', {
      limits: { gpu: 4, memory: 64 * GiB },
      guaranteed_gpu: 1,
    })
    expect(made).toMatchObject({
      subject: 'user:ana',
      limits: { gpu: 4, memory: 64 * GiB, cpu: null },
      weight: 1,
      use: { gpu: 0 },
    })
    await order.putQuota(admin, 'user:ana', { limits: { memory: null } })
    await order.putQuota(admin, 'user:*', { limits: { gpu: 2 } })
    expect((await order.quotas(admin, query)).items).toMatchObject([
      { subject: 'user:*', use: null },
      { subject: 'user:ana', limits: { gpu: 4, memory: null }, guaranteed_gpu: 1, borrowed_gpu: 0 },
    ])
    expect(await problem(order.putQuota(admin, 'ana', {}))).toContain('/path/subject')
    await order.deleteQuota(admin, 'user:ana')
    expect(await order.putPrices(admin, { currency: 'CHF', gpu_models: { A100: 2.5 } })).toEqual({
      currency: 'CHF',
      gpu: 0,
      gpu_models: { A100: 2.5 },
      cpu: 0,
      memory_gib: 0,
    })
  })

  it('take nodes by name, and reservations back by name where only one has it', async () => {
    const input = {
      name: 'course',
      holders: ['team:ml'],
      nodes: ['host-2'],
      ends_at: '2026-03-02T00:00:00Z',
      over_running: false,
    }
    const made = await order.reserve(admin, input)
    expect(made).toMatchObject({
      nodes: ['node-2'],
      gpus: null,
      starts_at: '2026-03-01T08:00:00.000Z',
      created_by: 'user:admin',
    })
    expect(await problem(order.reserve(admin, input))).toContain('host-2 is reserved already (course)')
    await order.reserve(admin, { ...input, nodes: ['node-1'] })
    expect(await problem(order.unreserve(admin, 'course'))).toContain('2 reservations are named course')
    await order.unreserve(admin, made.id)
    await order.unreserve(admin, 'course')
    expect((await order.reservations(admin, query)).items).toEqual([])
    expect(await problem(order.reserve(admin, { ...input, nodes: ['nowhere'] }))).toContain(
      'there is no node nowhere',
    )
  })

  it('are nothing for tasks', async () => {
    const task = { kind: 'task', task: 't', workload: 'w', attempt: 1 } as const
    for (const call of [
      order.putQueue(task, 'q', {}),
      order.quotas(task, query),
      order.putPrices(task, {}),
      order.unreserve(task, 'r'),
    ])
      expect(await problem(call)).toContain('forbidden')
  })
})

describe('the usage', () => {
  function used(): Replica {
    const replica = cluster([2])
    replica.do({ type: 'prices.put', change: { currency: 'CHF', gpu: 1 } })
    replica.now = Date.parse('2026-03-31T22:00:00Z')
    replica.submit('a', { gpu: 2, team: 'ml' })
    replica.run('a', 'node-1', ['GPU-1-0', 'GPU-1-1'])
    replica.end('a', 4 * hour, 'Failed')
    replica.submit('b', { gpu: 1, owner: 'bob' })
    replica.run('b', 'node-1', ['GPU-1-0'])
    replica.now += hour
    return replica
  }

  it('is told by person, team, workload and day, running attempts included', () => {
    const { state, now } = used()
    expect(usageReport(state, { by: 'user' }, now)).toMatchObject({
      from: '2026-04-01',
      to: '2026-04-01',
      currency: 'CHF',
      rows: [
        { user: 'ana', attempts: 1, gpu_hours: 4, wasted_gpu_hours: 4, money: 4 },
        { user: 'bob', attempts: 0, gpu_hours: 1, wasted_gpu_hours: 0, cpu_hours: 1 },
      ],
      total: { user: null, gpu_hours: 5 },
    })
    const march = usageReport(state, { by: 'day', from: '2026-03-01', to: '2026-03-31' }, now)
    expect(march.rows).toMatchObject([{ day: '2026-03-31', gpu_hours: 4, attempts: 0 }])
    expect(usageReport(state, { by: 'team', from: '2026-03-01' }, now).rows.map((row) => [row.team, row.gpu_hours])).toEqual([['ml', 8], [null, 1]]) // prettier-ignore
    expect(usageReport(state, { by: 'detail', from: '2026-03-01' }, now).rows).toHaveLength(3)
    expect(() => usageReport(state, { by: 'day', from: '2026-05-01', to: '2026-03-31' }, now)).toThrow()
  })
})
