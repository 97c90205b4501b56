import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
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

  it('is the same after a snapshot of many rows came in pieces of any size', async () => {
    const one = await machine('a')
    run(one, found, ...Array.from({ length: 500 }, (_, i) => submit(`grün-${i}`)))
    const { index, data } = one.snapshot()
    const image: Uint8Array[] = []
    for await (const piece of data) {
      expect(piece.length).toBeLessThan(100_000)
      image.push(piece)
    }
    const whole = Buffer.concat(image)
    expect(whole.length).toBeGreaterThan(300_000)
    for (const size of [7, 4099, whole.length]) {
      const other = await machine(`b${size}`)
      await other.restore(index, [], cut(whole, size))
      expect(other.state.experiments.toJS()).toEqual(one.state.experiments.toJS())
      await close(other)
      const again = await machine(`b${size}`)
      expect(again.state.experiments.toJS()).toEqual(one.state.experiments.toJS())
    }
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

async function* cut(whole: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size)
}

describe('a damaged state database', () => {
  it.each<[string, string, (value: Buffer) => Buffer | undefined, string?]>([
    [
      'a row was altered',
      'is damaged',
      (value: Buffer) => Buffer.concat([value.subarray(0, -1), Buffer.from('?')]),
    ],
    ['a row was lost', 'lacks rows', () => undefined],
    ['a session was lost', 'lacks rows', () => undefined, 's!c'],
  ])('is refused when %s', async (_case, says, change, key = 'r!experiments!e1') => {
    const one = await machine()
    run(one, found, submit('e1'))
    await one.flush(one.applied, [{ key: 'c', value: Buffer.from('answers') }], true)
    await close(one)
    const level = new Level<string, Buffer>(join(folder, 'a'), { valueEncoding: 'buffer' })
    const value = change((await level.get(key)) ?? Buffer.alloc(0))
    await (value ? level.put(key, value) : level.del(key))
    await level.close()
    const db = await StateDb.open(join(folder, 'a'))
    await expect(db.load()).rejects.toThrow(says)
    await db.close()
  })

  it.each<[string, RegExp, (file: string) => Promise<void>]>([
    ['a bit of its log', /\.log$/, (file) => flip(file, 100)],
    ['the last bit of its log', /\.log$/, async (file) => flip(file, (await stat(file)).size - 1)],
    ['a bit of its manifest', /^MANIFEST/, (file) => flip(file, 9)],
    ['a bit of CURRENT', /^CURRENT/, (file) => flip(file, 12)],
    ['its CURRENT', /^CURRENT/, (file) => rm(file)],
    ['its log', /\.log$/, (file) => rm(file)],
  ])('is refused without %s as it was, and nothing is deleted', async (_case, which, damage) => {
    const one = await machine()
    run(one, found, submit('e1'))
    await one.flush(one.applied, [], true)
    await close(one)
    const files = await readdir(join(folder, 'a'))
    const name = files.find((file) => which.test(file)) ?? expect.fail(`there is no ${String(which)}`)
    await damage(join(folder, 'a', name))
    const before = await readdir(join(folder, 'a'))
    await expect(StateDb.open(join(folder, 'a'))).rejects.toThrow(/damaged|lost|understood/)
    expect(await readdir(join(folder, 'a'))).toEqual(before)
  })

  it('is made anew when its creation was cut off', async () => {
    await mkdir(join(folder, 'a'))
    await writeFile(join(folder, 'a', 'LOCK'), '')
    await writeFile(join(folder, 'a', 'MANIFEST-000001'), 'half')
    expect((await machine('a')).applied).toBe(0)
  })
})

async function flip(file: string, at: number): Promise<void> {
  const data = await readFile(file)
  data[at] = (data[at] ?? 0) ^ 2
  await writeFile(file, data)
}
