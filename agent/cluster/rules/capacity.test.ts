import { describe, expect, test } from 'vitest'
import type { Gpu, GpuNeed, Inventory } from '../../../contract/index.ts'
import type { NodeRow, TaskRow } from '../state.ts'
import { asked, devicesFor, freeOf, without } from './capacity.ts'

const GiB = 1024 ** 3

const gpu = (uuid: string, part: Partial<Gpu> = {}): Gpu => ({
  uuid, index: 0, vendor: 'nvidia', model: 'NVIDIA A100-SXM4-40GB', memory: 40 * GiB, ...part,
}) // prettier-ignore

function node(...gpus: Gpu[]): NodeRow {
  return {
    id: 'node-1', name: 'host', member: 1, address: '', joined_at: '', resource_version: 1,
    gpus: gpus.map(({ uuid }) => uuid), inventory: { gpus } as unknown as Inventory,
    allocatable: { cpu: 8, memory: 64 * GiB, gpu: gpus.length, disk: 0 },
  } // prettier-ignore
}

const task = (gpus: string[], need?: GpuNeed, count = gpus.length) =>
  ({
    gpus,
    resources: { cpu: 1, memory: GiB, gpu: count, disk: 0 },
    ...(need ? { gpu: need } : {}),
  }) as unknown as TaskRow

const open = (on: NodeRow, holders: TaskRow[], need?: GpuNeed) =>
  devicesFor(on, task([], need, 1), freeOf(on, holders))

describe('devices', () => {
  test('are handed out once', () => {
    const on = node(gpu('a'), gpu('b'))
    expect(open(on, [task(['a'])])).toEqual(['b'])
    expect(freeOf(on, [task(['a'])]).resources).toMatchObject({ gpu: 1, cpu: 7 })
  })
  test('that are gone do not count, though a task still holds them', () => {
    const on = node(gpu('b'), gpu('c'))
    expect(freeOf(on, [task(['a'])])).toMatchObject({ resources: { gpu: 2 }, gpus: ['b', 'c'] })
  })
  test('are of the model and size asked for', () => {
    const on = node(gpu('a'), gpu('t', { model: 'Tesla T4', memory: 15 * GiB }))
    expect(open(on, [], { model: 'a100' })).toEqual(['a'])
    expect(open(on, [], { memory: 15 * GiB })).toEqual(['a', 't'])
    expect(open(on, [], { memory: 16 * GiB })).toEqual(['a'])
  })
  test('that are slices go to those who ask for such slices, and whole ones do not', () => {
    const slice = (uuid: string, profile: string) => gpu(uuid, { mig: { parent: 'a', profile } })
    const on = node(slice('s1', '1g.5gb'), slice('s2', '2g.10gb'), gpu('b'))
    expect(open(on, [])).toEqual(['b'])
    expect(open(on, [], { mig: '1g.5gb' })).toEqual(['s1'])
    expect(open(on, [task(['s2'], { mig: '2g.10gb' })], { mig: '2g.10gb' })).toEqual([])
  })
})

describe('a shared GPU', () => {
  const on = node(gpu('a', { shared: true }), gpu('b'))
  const share = (bytes: number) => ({ share: bytes })

  test('is shared up to its memory, by those who ask for a share', () => {
    expect(open(on, [], share(10 * GiB))).toEqual(['a'])
    const holders = [task(['a'], share(30 * GiB))]
    expect(open(on, holders, share(10 * GiB))).toEqual(['a'])
    expect(open(on, holders, share(10 * GiB + 1))).toEqual([])
  })
  test('goes to one task alone only while nobody shares it', () => {
    expect(open(on, [])).toEqual(['a', 'b'])
    expect(open(on, [task(['a'], share(GiB))])).toEqual(['b'])
    expect(open(on, [task(['a'])], share(GiB))).toEqual([])
  })
  test('takes no device from those who want whole ones', () => {
    expect(asked(task(['a'], share(GiB))).gpu).toBe(0)
    const left = without(freeOf(on, []), task([], share(15 * GiB), 1), ['a'])
    expect(left.gpus).toEqual(['b'])
    expect(left.shares.get('a')).toBe(25 * GiB)
    expect(without(left, task([], undefined, 1), ['b'])).toMatchObject({ gpus: [], resources: { gpu: 0 } })
  })
})
