import { expect, test } from 'vitest'
import type { Gpu, Inventory } from '../../../contract/index.ts'
import type { NodeRow } from '../state.ts'
import { emptyState, Transaction } from '../transaction.ts'
import { deviceFaults, ownedOf, tellOfDevices } from './devices.ts'

const gpu = (uuid: string, fault?: string): Gpu => ({
  uuid, index: 0, vendor: 'nvidia', model: 'L4', memory: 1, ...(fault ? { fault: { code: fault, message: 'it broke' } } : {}),
}) // prettier-ignore
const inventory = (...gpus: Gpu[]) => ({ gpus }) as unknown as Inventory
const row = (n: number, part: Partial<NodeRow> = {}): NodeRow => ({
  id: `node-${n}`, name: `host-${n}`, member: n, address: '', joined_at: '', inventory: null, allocatable: null, gpus: [],
  resource_version: 1, ...part,
}) // prettier-ignore
const nodes = (...rows: NodeRow[]) => rows.reduce((all, one) => all.set(one.id, one), emptyState.nodes)

test('a device belongs to the node that reported it first', () => {
  const state = { nodes: nodes(row(1, { gpus: ['a'] }), row(2, { gpus: ['b'] })) }
  expect(ownedOf({ state }, 'node-2', ['a', 'b', 'c'])).toEqual({
    owned: ['b', 'c'],
    refused: [{ uuid: 'a', owner: 'host-1' }],
  })
})

test('what is wrong with devices is said in words, and no more once their owner gave them up', () => {
  const second = row(2, { inventory: inventory(gpu('b', 'gpu_lost'), gpu('c')), refused_gpus: ['a'] })
  const faults = deviceFaults({ nodes: nodes(row(1, { gpus: ['a'] }), second) }, second)
  expect(faults).toEqual([
    'GPU 0 (L4, b): it broke.',
    'a is not handed out here: host-1 reported it first. Two agents on one host each need --share-gpus.',
  ])
  expect(deviceFaults({ nodes: nodes(row(1), second) }, second)).toHaveLength(1)
})

test('each change of a device is told once', () => {
  const tell = (before: NodeRow, now: Inventory, refused: { uuid: string; owner: string }[] = []) => {
    const tx = new Transaction(emptyState, 1, '2026-01-01T00:00:00.000Z', 'node-2')
    tellOfDevices(tx, before, now, refused)
    return tx.end().events.map(({ code }) => code)
  }
  const well = row(2, { inventory: inventory(gpu('b')) })
  const sick = row(2, { inventory: inventory(gpu('b', 'gpu_lost')), refused_gpus: ['a'] })
  expect(tell(well, inventory(gpu('b', 'gpu_lost')))).toEqual(['node.gpu_fault'])
  expect(tell(sick, inventory(gpu('b', 'gpu_lost')), [{ uuid: 'a', owner: 'host-1' }])).toEqual([])
  expect(tell(sick, inventory(gpu('b')))).toEqual(['node.gpu_well'])
  expect(tell(well, inventory(gpu('b')), [{ uuid: 'a', owner: 'host-1' }])).toEqual(['node.gpu_refused'])
})
