import { expect, test } from 'vitest'
import type { Cluster } from '../../../contract/objects.ts'
import { experiment, node, usage } from '../../testing/objects.ts'
import { cpuLevel, gpuViews, memoryLevel } from '../nodes/nodes.ts'
import { troubles } from './problems.ts'
import { totals } from './totals.ts'

const now = Date.parse('2026-01-31T12:30:00Z')

test('what needs somebody comes with the way there, worst first', () => {
  const found = troubles(
    [node({ liveness: 'suspect' }), node({ id: 'node-2', name: 'gpu-02', usage: usage({ disk_low: true }) })],
    [
      experiment({ state: 'Failed', finished_at: '2026-01-31T12:10:00Z' }),
      experiment({ id: 'old', state: 'Failed', finished_at: '2026-01-01T00:00:00Z' }),
    ],
    undefined,
    now,
  )
  expect(found.map(({ text, at }) => [text, at])).toEqual([
    ['The disk of gpu-02 is nearly full', '/nodes/gpu-02'],
    ['gpu-01 has stopped answering', '/nodes/gpu-01'],
    ['digits failed', '/experiments/exp-1'],
  ])
  expect(troubles([node()], [], undefined, now)).toEqual([])
})

test('what a demo is meant to do is a quiet note', () => {
  const text = 'gpu-01 may run tasks as plain processes, without isolation from the host and from each other.'
  const info = {
    warnings: [text],
    leader: 'node-1',
    voters: 1,
    may_fail: 0,
    members: [],
  } as unknown as Cluster
  expect(troubles([node()], [], info, now)).toMatchObject([{ tone: 'warn', text }])
  expect(troubles([node()], [], info, now, true)).toMatchObject([{ tone: 'info', text }])
})

test('totals count only nodes that answer, and are unknown without any', () => {
  expect(totals([node(), node({ id: 'b', liveness: 'unreachable' })])[0]).toMatchObject({
    reserved: '2',
    of: '8',
    value: 0.25,
  })
  expect(totals([])[0]).toMatchObject({ reserved: '–', of: '–', value: null })
})

test('the last figures of a silent node are not shown as if they were now', () => {
  expect(memoryLevel(node({ usage: usage() })).value).toBe(0.25)
  expect(memoryLevel(node({ usage: usage(), liveness: 'unreachable' })).value).toBeNull()
})

test('use and reservation share one scale: all that the host has', () => {
  const { memory_total } = usage()
  const asked = node({ usage: usage(), allocated: { cpu: 2, memory: memory_total / 64, gpu: 0, disk: 0 } })
  expect(memoryLevel(asked).reserved).toBe(1 / 64)
  expect(memoryLevel(asked).title).toMatch(/reserved of 4(\.0)? GiB for tasks/)
  expect(cpuLevel(asked).scarce).toBe(false)
})

test('a card busy without a task of ours is told apart', () => {
  const gpu = (index: number) => ({
    uuid: `G${index}`,
    index,
    vendor: 'nvidia' as const,
    model: 'A',
    memory: 100,
  })
  const figures = (index: number, busy: number) => ({
    uuid: `G${index}`, utilization_percent: busy, memory_used: 1, temperature_c: null, power_w: null,
  }) // prettier-ignore
  const inventory = {
    hostname: 'h', os: '', kernel: '', arch: 'x64' as const, cpu: { model: '', cores: 1 }, memory: 1,
    disk: { path: '/', total: 1, free: 1 }, gpus: [gpu(0), gpu(1), gpu(2)], docker: null, runtimes: [],
    default_image: null, agent_version: '', node_version: '',
  } // prettier-ignore
  const views = gpuViews(
    node({
      inventory,
      gpus_held: [{ uuid: 'G0', task: 't' }],
      usage: usage({ gpus: [figures(0, 90), figures(1, 40), figures(2, 0)] }),
    }),
  )
  expect(views.map(({ state }) => state)).toEqual(['held', 'foreign', 'free'])
})
