import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Level } from 'level'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Actor } from '../../contract/index.ts'
import { StateDb } from '../store/state-db.ts'
import type { Command } from './commands.ts'
import { ClusterStateMachine, encodeEntry, readAnswer } from './state-machine.ts'

const actor: Actor = { kind: 'user', name: 'admin', rank: 'admin' }
let folder: string
const open: ClusterStateMachine[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'state-machine-'))
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

async function close(which: ClusterStateMachine): Promise<void> {
  open.splice(open.indexOf(which), 1)
  await which.close()
}

const found: Command = {
  type: 'cluster.create', id: 'c1', name: 'lab', ca: 'pem', sealed_ca_key: 's',
  admin: { name: 'admin', password_hash: 'h' }, node: { name: 'host-1', address: 'h1:7460' },
} // prettier-ignore
const submit = (id: string): Command => ({
  type: 'experiment.create', id, owner: 'admin',
  spec: { name: id, type: 'script', tags: [], roles: { worker: { replicas: 1, resources: { cpu: 1, memory: 1, gpu: 0, disk: 0 }, command: ['x'], env: {} } } },
}) // prettier-ignore

function run(on: ClusterStateMachine, ...commands: Command[]): unknown[] {
  return commands.map((command) =>
    readAnswer(
      on.apply({
        index: on.applied + 1,
        term: 1,
        data: encodeEntry({ v: 1, at: '2026-01-01T00:00:00.000Z', actor, command }),
      }),
    ),
  )
}

const codes = async (of: ClusterStateMachine, subject?: string) =>
  (await of.events({ limit: 100, newest: false, ...(subject ? { subject } : {}) })).map((event) => event.code)

describe('the state machine on LevelDB', () => {
  it('comes back as it was flushed, sessions included', async () => {
    const first = await machine()
    run(first, found, submit('e1'))
    await first.flush(first.applied, [{ key: 'client', value: Buffer.from([1, 2, 3]) }], false)
    run(first, submit('never-flushed'))
    await close(first)
    const second = await machine('a')
    expect(second.applied).toBe(2)
    expect([...second.state.experiments.keys()]).toEqual(['e1'])
    expect(second.state.experiments.get('e1')?.resource_version).toBe(2)
    expect(await second.sessions()).toEqual([{ key: 'client', value: Buffer.from([1, 2, 3]) }])
  })

  it('answers a refusal as the problem it is, and changes nothing', async () => {
    const one = await machine()
    run(one, found)
    const before = one.state
    expect(() => run(one, { type: 'experiment.stop', id: 'nobody' })).toThrow('there is no experiment nobody')
    expect(one.state).toBe(before)
  })

  it('shows events that are not in LevelDB yet, once, in both orders and by subject', async () => {
    const one = await machine()
    run(one, found)
    await one.flush(one.applied, [], false)
    run(one, submit('e1'), submit('e2'), { type: 'experiment.stop', id: 'e1' })
    const expected = [
      'experiment.accepted',
      'experiment.stop_requested',
      'task.stopped',
      'experiment.stopped',
    ]
    expect(await codes(one, 'e1')).toEqual(expected)
    await one.flush(one.applied, [], false)
    expect(await codes(one, 'e1')).toEqual(expected)
    const newest = await one.events({ limit: 2, newest: true })
    expect(newest.map((event) => event.code)).toEqual(['experiment.stopped', 'task.stopped'])
    const next = await one.events({ limit: 1, newest: true, after: newest[1]?.id ?? '' })
    expect(next.map((event) => event.code)).toEqual(['experiment.stop_requested'])
  })

  it('is the same after a snapshot is restored elsewhere', async () => {
    const one = await machine('a')
    run(one, found, submit('e1'))
    await one.flush(one.applied, [], false)
    run(one, submit('e2'))
    const { index, data } = one.snapshot()
    run(one, submit('after-the-snapshot'))
    const other = await machine('b')
    run(other, found, submit('of-another-life'))
    await other.flush(other.applied, [], false)
    await other.restore(index, [{ key: 'c', value: Buffer.from('s') }], data)
    expect(other.applied).toBe(3)
    expect(other.state.experiments.toJS()).toEqual(one.state.experiments.delete('after-the-snapshot').toJS())
    expect(await codes(other)).toEqual((await codes(one)).slice(0, 4))
    await close(other)
    const again = await machine('b')
    expect([...again.state.experiments.keys()]).toEqual(['e1', 'e2'])
    expect(await codes(again, 'e2')).toEqual(['experiment.accepted'])
  })

  it('tells its watchers what changed, and that everything did after a restore', async () => {
    const one = await machine('a')
    const seen: unknown[] = []
    one.onApplied(({ index, changed, restored }) =>
      seen.push([index, [...changed.keys()], restored ?? false]),
    )
    run(one, found, submit('e1'))
    const other = await machine('b')
    other.onApplied(({ index, restored }) => seen.push([index, 'restored', restored]))
    const { index, data } = one.snapshot()
    await other.restore(index, [], data)
    expect(seen).toEqual([
      [1, ['cluster', 'users', 'nodes'], false],
      [2, ['tasks', 'experiments'], false],
      [2, 'restored', true],
    ])
  })
})

describe('a damaged state database', () => {
  it.each([
    [
      'a row was altered',
      'is damaged',
      (value: Buffer) => Buffer.concat([value.subarray(0, -1), Buffer.from('?')]),
    ],
    ['a row was lost', 'lacks rows', () => undefined],
  ])('is refused when %s', async (_case, says, change) => {
    const one = await machine()
    run(one, found, submit('e1'))
    await one.flush(one.applied, [], true)
    await close(one)
    const level = new Level<string, Buffer>(join(folder, 'a'), { valueEncoding: 'buffer' })
    const key = 'r!experiments!e1'
    const value = change((await level.get(key)) ?? Buffer.alloc(0))
    await (value ? level.put(key, value) : level.del(key))
    await level.close()
    const db = await StateDb.open(join(folder, 'a'))
    await expect(db.load()).rejects.toThrow(says)
    await db.close()
  })
})
