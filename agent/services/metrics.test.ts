import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Actor, MetricSeries } from '../../contract/index.ts'
import { createServices, type Services } from './index.ts'
import { admin, World } from './testing/world.ts'
import { Thinner } from './thin.ts'

let world: World
let services: Services[]
beforeEach(async () => {
  world = await World.create()
  services = world.agents.map((agent) => createServices(world.deps(agent)))
})
afterEach(async () => {
  for (const each of services) each.close()
  await world.close()
})

const point = (key: string, value: number | 'NaN', step: number) => ({ key, value, step })
const all = { max_points: 1000 }

describe('metric points', () => {
  it('are kept by the node that runs the attempt, whichever agent took them', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1', 'node-2')
    for (const [at, each] of services.entries()) {
      const answer = await each.metrics.log(admin, 'exp-1', { points: [point('loss', at, at)] })
      expect(answer).toEqual({ accepted: 1, copies: 2 })
    }
    const { series } = await (services[2] as Services).metrics.read(admin, 'exp-1', all)
    expect(series).toMatchObject([{ key: 'loss', task }])
    expect(series[0]?.points.map(([step, value]) => [step, value])).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
    ])
    expect(series[0]?.points[0]?.[2]).toBe('2026-03-01T08:00:00.000Z')
  })

  it('keep NaN and the infinities', async () => {
    world.submit('exp-1')
    world.run('exp-1')
    const [first] = services as [Services]
    await first.metrics.log(admin, 'exp-1', {
      points: [point('a', 'NaN', 1), { ...point('b', 0, 1), value: '-Infinity' }],
    })
    const { series } = await first.metrics.read(admin, 'exp-1', { ...all, key: 'b' })
    expect(series.map((each) => [each.key, each.points[0]?.[1]])).toEqual([['b', '-Infinity']])
  })

  it('of a task come by its own token, for itself, for its attempt', async () => {
    const [own = '', other = ''] = world.submit('exp-1', { replicas: 2 })
    world.run('exp-1')
    const [first] = services as [Services]
    const actor: Actor = { kind: 'task', task: own, workload: 'exp-1', attempt: 1 }
    const points = [point('loss', 1, 1)]
    expect(await first.metrics.log(actor, 'exp-1', { points })).toMatchObject({ accepted: 1 })
    await expect(first.metrics.log(actor, 'exp-1', { points, task: other })).rejects.toMatchObject({
      code: 'forbidden',
    })
    const late = { ...actor, attempt: 2 }
    await expect(first.metrics.log(late, 'exp-1', { points })).rejects.toMatchObject({
      code: 'stale_attempt',
    })
    const { series } = await first.metrics.read(admin, 'exp-1', all)
    expect(series.map((each) => each.task)).toEqual([own])
  })

  it('come too early, too late, or to a full disk', async () => {
    const [task = ''] = world.submit('exp-1')
    const [first] = services as [Services]
    const log = () => first.metrics.log(admin, 'exp-1', { points: [point('loss', 1, 1)] })
    await expect(log()).rejects.toMatchObject({ code: 'conflict' })
    expect(await first.metrics.read(admin, 'exp-1', all)).toEqual({ series: [] })
    world.run('exp-1', 'node-2')
    world.space.full = true
    await expect(log()).rejects.toMatchObject({ code: 'disk_low' })
    world.space.full = false
    const [, second] = world.agents
    if (second) second.peers.unreachable = true
    await expect(log()).rejects.toMatchObject({ code: 'node_unreachable' })
    world.finish(task)
    await expect(log()).rejects.toMatchObject({ code: 'conflict' })
  })

  it('sent to a node that does not run the attempt are refused there', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1', 'node-2')
    const append = (attempt: number, node: string) =>
      world.cluster.peers.request(node, {
        method: 'POST',
        path: '/metrics-append',
        body: JSON.stringify({ task, attempt, points: [{ k: 'a', v: 1, n: 0, t: '2026-03-01T08:00:00Z' }] }),
      })
    await expect(append(1, 'node-3')).rejects.toMatchObject({ code: 'stale_attempt' })
    await expect(append(7, 'node-2')).rejects.toMatchObject({ code: 'stale_attempt' })
    const { body } = await append(1, 'node-2')
    body.destroy()
  })
})

describe('a thinned series', () => {
  type Point = MetricSeries['points'][number]
  const value = fc.oneof(
    fc.integer({ min: -1000, max: 1000 }),
    fc.constantFrom('NaN' as const, 'Infinity' as const),
  )
  const numbers = (points: readonly Point[]) =>
    points.map((each) => Number(each[1])).filter((n) => !Number.isNaN(n))

  it('keeps first and last, least and greatest, order and limit; a short one is untouched', () => {
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 400 }),
        fc.integer({ min: 2, max: 60 }),
        (values, limit) => {
          const given = values.map((each, step): Point => [step, each, 't'])
          const thinner = new Thinner(limit)
          for (const each of given) thinner.add(each)
          const kept = thinner.points()
          if (given.length <= limit) {
            expect(kept).toEqual(given)
            return
          }
          expect(kept.length).toBeLessThanOrEqual(limit)
          expect([kept[0], kept.at(-1)]).toEqual([given[0], given.at(-1)])
          const steps = kept.map(([step]) => step)
          expect(steps).toEqual([...new Set(steps)].toSorted((a, b) => a - b))
          if (limit < 4 || !numbers(given).length) return
          expect(Math.max(...numbers(kept))).toBe(Math.max(...numbers(given)))
          expect(Math.min(...numbers(kept))).toBe(Math.min(...numbers(given)))
        },
      ),
      { numRuns: 300 },
    )
  })

  it('of a million points takes a thousand, spread over all of it', () => {
    const thinner = new Thinner(1000)
    for (let step = 0; step < 1_000_000; step++) thinner.add([step, Math.sin(step / 1000), 't'])
    const steps = thinner.points().map(([step]) => step)
    expect(steps.length).toBeGreaterThan(400)
    expect(steps.length).toBeLessThanOrEqual(1000)
    const gaps = steps.slice(1).map((step, at) => step - (steps[at] ?? 0))
    expect(Math.max(...gaps)).toBeLessThan(10_000)
  })
})
