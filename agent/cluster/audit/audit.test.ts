import { mkdtemp, rm } from 'node:fs/promises'
import { hash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Actor, type AuditRecord, chainFault } from '../../../contract/index.ts'
import { StateDb } from '../../store/state-db.ts'
import type { Command } from '../commands.ts'
import { ClusterStateMachine, encodeEntry, readAnswer } from '../state-machine.ts'
import type { AuditNote } from '../commands/audit.ts'
import type { Origin } from './origin.ts'

const ana: Actor = { kind: 'user', name: 'ana', rank: 'member', token: 'tok-1' }
const system: Actor = { kind: 'system' }
const origin: Origin = { address: '10.0.0.9', request: 'r-1' }
let folder: string
const open: ClusterStateMachine[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'audit-'))
})
afterEach(async () => {
  for (const machine of open.splice(0)) await machine.close()
  await rm(folder, { recursive: true })
})

async function machine(name = 'a'): Promise<ClusterStateMachine> {
  const made = await ClusterStateMachine.open(await StateDb.open(join(folder, name)))
  open.push(made)
  return made
}

const found: Command = {
  type: 'cluster.create', id: 'c1', name: 'lab', ca: 'pem', sealed_ca_key: 's',
  admin: { name: 'admin', password_hash: 'h' }, node: { name: 'host-1', address: 'h1:7460' },
} // prettier-ignore
const submit = (id: string): Command => ({
  type: 'experiment.create', id, owner: 'ana',
  spec: { name: id, type: 'script', tags: [], roles: { worker: { replicas: 1, resources: { cpu: 1, memory: 1, gpu: 0, disk: 0 }, command: ['x'], env: {} } } },
}) // prettier-ignore

function run(on: ClusterStateMachine, command: Command, actor = ana, from: Origin | null = origin): unknown {
  const at = '2026-01-01T00:00:00.000Z'
  const entry = { v: 1 as const, at, actor, command, ...(from ? { origin: from } : {}) }
  return readAnswer(on.apply({ index: on.applied + 1, term: 1, data: encodeEntry(entry) }))
}

const all = (on: ClusterStateMachine): Promise<AuditRecord[]> => Array.fromAsync(on.auditAfter(0))
const sha256 = (text: string) => hash('sha256', text)

function faultIn(records: readonly AuditRecord[]): string | undefined {
  for (const [at, record] of records.entries()) {
    const fault = chainFault(record, records[at - 1], sha256)
    if (fault) return fault
  }
  return undefined
}

describe('the audit log', () => {
  it('says who did what to which object, from where, and what became of it', async () => {
    const log = await machine()
    run(log, found, system)
    run(log, submit('e1'))
    run(log, { type: 'experiment.stop', id: 'e1' })
    expect(() => run(log, { type: 'experiment.stop', id: 'none' })).toThrow('none')
    const [created, made, stopped, refused] = await all(log)
    expect(created).toMatchObject({ seq: 1, actor: 'system', action: 'cluster.create' })
    expect(made).toMatchObject({
      seq: 2, index: 2, actor: 'user:ana', token: 'tok-1', address: '10.0.0.9', request: 'r-1', action: 'experiment.create',
      object: { kind: 'experiment', id: 'e1' }, decision: 'allowed', code: null, before: null, count: 1,
    }) // prettier-ignore
    expect(stopped?.before).toBe(made?.after)
    expect(stopped?.after).not.toBe(made?.after)
    expect(refused).toMatchObject({
      action: 'experiment.stop',
      decision: 'refused',
      code: 'not_found',
      before: null,
      after: null,
    })
    expect(faultIn(await all(log))).toBeUndefined()
  })

  it('leaves out what the cluster does by itself, and entries of before there was one', async () => {
    const log = await machine()
    run(log, found, system, null)
    run(log, submit('e1'), ana, null)
    run(log, { type: 'workload.wait', id: 'e1', reason: { code: 'busy', message: 'busy' } }, system, null)
    expect(await all(log)).toEqual([])
    expect(log.state.auditHead.size).toBe(0)
  })

  it('keeps a refused call as it was told', async () => {
    const log = await machine()
    const note: AuditNote = {
      at: '2026-01-01T00:00:01.000Z', actor: 'user:bob', token: null, address: '10.0.0.7', request: 'r-2', action: 'node.admin',
      object: { kind: 'node', id: 'node-1' }, decision: 'refused', code: 'forbidden', message: 'no', count: 7,
    } // prettier-ignore
    run(log, { type: 'audit.note', notes: [note, { ...note, count: 1 }] }, system, null)
    expect(await all(log)).toMatchObject([
      { ...note, seq: 1, index: 1 },
      { seq: 2, count: 1 },
    ])
  })

  it.each([
    [
      'altered',
      (records: AuditRecord[]) => records.with(1, { ...(records[1] as AuditRecord), actor: 'user:eve' }),
      'record 2 was altered',
    ],
    ['left out', (records: AuditRecord[]) => records.toSpliced(1, 1), 'record 2 is missing'],
    [
      'left out, the rest numbered anew',
      (records: AuditRecord[]) => records.toSpliced(1, 1).map((record, at) => ({ ...record, seq: at + 1 })),
      'record 2 does not follow record 1',
    ],
    [
      'replaced with a digest of its own',
      (records: AuditRecord[]) => records.with(1, forged(records[1] as AuditRecord)),
      'record 3 does not follow record 2',
    ],
  ] as const)('shows that a record was %s', async (_, change, fault) => {
    const log = await machine()
    run(log, found, system)
    for (const id of ['e1', 'e2', 'e3']) run(log, submit(id))
    expect(faultIn(change(await all(log)))).toContain(fault)
  })

  it('is the same on a replica that got a snapshot, and goes on from it', async () => {
    const [log, other] = [await machine('a'), await machine('b')]
    run(log, found, system)
    run(log, submit('e1'))
    await log.flush(log.applied, [], false)
    run(log, submit('e2'))
    const { index, data } = log.snapshot()
    run(log, submit('e3'))
    await log.flush(log.applied, [], false)
    await other.restore(index, [], data)
    run(other, submit('e3'))
    expect(await all(other)).toEqual(await all(log))
    expect(other.digestAt(4)).toBe(log.digestAt(4))
  })

  it('answers pages of what is asked for, written or not', async () => {
    const log = await machine()
    run(log, found, system)
    for (const id of ['e1', 'e2']) run(log, submit(id))
    await log.flush(log.applied, [], false)
    run(log, submit('e3'))
    run(log, { type: 'experiment.stop', id: 'e1' })
    const page = async (query: object) => {
      const { items, next } = await log.audit({ limit: 10, ...query })
      return [items.map(({ seq }) => seq), next]
    }
    expect(await page({})).toEqual([[5, 4, 3, 2, 1], null])
    expect(await page({ limit: 2 })).toEqual([[5, 4], 4])
    expect(await page({ limit: 2, before: 4 })).toEqual([[3, 2], 2])
    expect(await page({ actor: 'ana', limit: 3 })).toEqual([[5, 4, 3], 3])
    expect(await page({ actor: 'system' })).toEqual([[1], null])
    expect(await page({ object: 'experiment/e1' })).toEqual([[5, 2], null])
    expect(await page({ object: 'experiment', action: 'experiment.create' })).toEqual([[4, 3, 2], null])
    expect(await page({ action: 'experiment.' })).toEqual([[5, 4, 3, 2], null])
    expect(await page({ decision: 'refused' })).toEqual([[], null])
    expect(await page({ to: '2025-12-31T00:00:00Z' })).toEqual([[], null])
  })
})

function forged(record: AuditRecord): AuditRecord {
  const { sha256: _, ...rest } = { ...record, actor: 'user:eve' }
  const text = JSON.stringify([
    rest.seq, rest.at, rest.index, rest.actor, rest.token, rest.address, rest.request, rest.action, rest.object.kind, rest.object.id,
    rest.decision, rest.code, rest.message, rest.before, rest.after, rest.count, rest.previous,
  ]) // prettier-ignore
  return { ...rest, sha256: sha256(text) }
}
