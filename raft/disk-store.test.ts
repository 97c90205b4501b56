import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Level } from 'level'
import type { Disk } from './disk.ts'
import { DiskStore } from './disk-store.ts'
import { levelDisk } from './level-disk.ts'
import { batchKey } from './records.ts'
import { EMPTY_CONF, type ConfState, type Entry, type SnapshotMeta } from './types.ts'
import { crc32c } from './crc32c.ts'

const me = { id: 7, clusterId: 'lab' }
const conf = { ...EMPTY_CONF, voters: [7] }
let root: string
let dir: string
let open: DiskStore[] = []

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'raft-store-'))
  dir = path.join(root, 'member')
})
afterEach(async () => {
  for (const s of open) await s.close()
  open = []
  await rm(root, { recursive: true })
})

async function create(o: { conf?: ConfState } = {}): Promise<DiskStore> {
  const s = await DiskStore.create(levelDisk(dir), { ...me, conf: o.conf ?? conf })
  open.push(s)
  return s
}
async function reopen(): Promise<DiskStore> {
  for (const s of open) await s.close()
  open = []
  const s = await DiskStore.open(levelDisk(dir), me)
  open.push(s)
  return s
}
async function close(): Promise<void> {
  for (const s of open) await s.close()
  open = []
}

const entry = (index: number, term = 1, size = 20): Entry => ({
  index,
  term,
  kind: 'normal',
  data: Buffer.alloc(size, index),
})
const range = (lo: number, hi: number, term = 1, size = 20) =>
  Array.from({ length: hi - lo + 1 }, (_, i) => entry(lo + i, term, size))
const all = (s: DiskStore) =>
  s
    .entries(s.firstIndex(), s.lastIndex() + 1, Infinity)
    .map(({ index, term, data }) => `${term}/${index}/${data.length}`)

async function* chunks(...list: string[]): AsyncIterable<Uint8Array> {
  for (const c of list) yield Buffer.from(c)
}
/** A sender of a snapshot: what it was asked for, and the bytes from there on, two at a time. */
function sender(text: string, o: { breakAt?: number } = {}) {
  const asked: number[] = []
  async function* data(from: number): AsyncIterable<Uint8Array> {
    asked.push(from)
    for (let at = from; at < text.length; at += 2) {
      if (at === o.breakAt) throw new Error('the line broke')
      yield Buffer.from(text.slice(at, at + 2))
    }
  }
  return { asked, data }
}
async function collect(data: AsyncIterable<Uint8Array>): Promise<string> {
  let s = ''
  for await (const c of data) s += Buffer.from(c).toString()
  return s
}
const metaOf = (index: number, term: number, text: string): SnapshotMeta => ({
  index,
  term,
  conf: { ...EMPTY_CONF, voters: [1, 7] },
  bytes: text.length,
  crc32c: crc32c(Buffer.from(text)),
})

/** Changes the database while no store has it open, as nothing but damage would. */
async function tamper(f: (db: Level<string, Buffer>) => Promise<void>): Promise<void> {
  await close()
  const db = new Level<string, Buffer>(path.join(dir, 'log'), { compression: false, valueEncoding: 'buffer' })
  await db.open()
  await f(db)
  await db.close()
}
const refused = { code: 'corrupt', message: expect.stringContaining('new id') as string }

describe('what was written is found again', () => {
  test('a founder and a joiner', async () => {
    const s = await create()
    expect(s.initial()).toEqual({ hard: { term: 1, vote: 0, commit: 1 }, conf, index: 1 })
    expect([s.firstIndex(), s.lastIndex(), s.term(1)]).toEqual([2, 1, 1])
    await close()
    await rm(dir, { recursive: true })
    const j = await create({ conf: EMPTY_CONF })
    expect(j.initial()).toEqual({ hard: { term: 0, vote: 0, commit: 0 }, conf: EMPTY_CONF, index: 0 })
    expect([j.firstIndex(), j.lastIndex(), j.term(0)]).toEqual([1, 0, 0])
  })

  test('entries, hard state, truncation in the middle of a batch', async () => {
    const s = await create()
    await s.append(range(2, 5), { term: 1, vote: 7, commit: 1 }, true)
    await s.append(range(6, 9), undefined, true)
    await s.append(range(4, 4, 3), { term: 3, vote: 2, commit: 3 }, true)
    const expected = ['1/2/20', '1/3/20', '3/4/20']
    expect(all(s)).toEqual(expected)
    const again = await reopen()
    expect(all(again)).toEqual(expected)
    expect(again.initial().hard).toEqual({ term: 3, vote: 2, commit: 3 })
    await again.append(range(5, 6, 3), undefined, true)
    expect(all(await reopen())).toEqual([...expected, '3/5/20', '3/6/20'])
  })

  test('snapshot, compaction, and the trailing entries', async () => {
    const s = await create()
    for (let i = 2; i < 40; i += 4) await s.append(range(i, i + 3), { term: 1, vote: 7, commit: i }, true)
    await s.createSnapshot({ index: 30, term: 1, conf }, chunks('sta', 'te'))
    await s.compact(23)
    await s.append(range(42, 43, 2), { term: 2, vote: 7, commit: 40 }, true)
    const again = await reopen()
    expect([again.firstIndex(), again.lastIndex(), again.term(23)]).toEqual([24, 43, 1])
    expect(await collect(again.openSnapshot())).toBe('state')
    expect(again.initial().index).toBe(30)
    await again.compact(30)
    await again.append(range(40, 40, 5), undefined, true) // truncates after a compaction
    expect(all(await reopen())).toEqual([...range(31, 39).map((e) => `1/${e.index}/20`), '5/40/20'])
  })

  test('a received snapshot replaces the log when it is installed, and not before', async () => {
    const s = await create()
    await s.append(range(2, 9), { term: 1, vote: 7, commit: 5 }, true)
    const meta = metaOf(50, 4, 'imported')
    await s.receiveSnapshot(meta, () => chunks('imp', 'orted'))
    expect(s.lastIndex()).toBe(9)
    await close()
    const again = await DiskStore.open(levelDisk(dir), me)
    open.push(again)
    expect(again.lastIndex()).toBe(9)
    // It arrived whole, so nothing is asked for again.
    const rest = sender('imported')
    await again.receiveSnapshot(meta, rest.data)
    expect(rest.asked).toEqual([8])
    await again.installSnapshot(meta, { term: 4, vote: 0, commit: 50 })
    await again.append(range(51, 52, 4), undefined, true)
    const last = await reopen()
    expect([last.firstIndex(), last.lastIndex(), last.term(50)]).toEqual([51, 52, 4])
    expect(last.snapshot()).toEqual(meta)
    expect(await collect(last.openSnapshot())).toBe('imported')
  })

  test('a snapshot that arrives damaged is refused and leaves nothing', async () => {
    const s = await create()
    const meta = metaOf(50, 4, 'imported')
    for (const wrong of ['imparted', 'import', 'imported again'])
      await expect(s.receiveSnapshot(meta, sender(wrong).data), wrong).rejects.toMatchObject({
        code: 'codec',
      })
    expect(await readdir(path.join(dir, 'snapshots'))).toEqual([])
    // Not the store's failure: it goes on, and takes the right one.
    await s.append(range(2, 3), undefined, true)
    await s.receiveSnapshot(meta, sender('imported').data)
  })

  test('a snapshot that broke off is gone on with, over a restart too, if it is exactly the same one', async () => {
    const meta = metaOf(50, 4, 'imported')
    const s = await create()
    const first = sender('imported', { breakAt: 4 })
    await expect(s.receiveSnapshot(meta, first.data)).rejects.toThrow('broke')
    const again = await reopen()
    const second = sender('imported', { breakAt: 6 })
    await expect(again.receiveSnapshot(meta, second.data)).rejects.toThrow('broke')
    const third = sender('imported')
    await again.receiveSnapshot(meta, third.data)
    expect([first.asked, second.asked, third.asked]).toEqual([[0], [4], [6]])
    await again.installSnapshot(meta, { term: 4, vote: 0, commit: 50 })
    expect(await collect(again.openSnapshot())).toBe('imported')
    expect(await readdir(path.join(dir, 'snapshots'))).toEqual(['50-4.snap'])
  })

  test('a part of another snapshot is of no use, and goes', async () => {
    const s = await create()
    const parts = () => readdir(path.join(dir, 'snapshots'))
    const half = (meta: SnapshotMeta) => s.receiveSnapshot(meta, sender('imported', { breakAt: 4 }).data)
    for (const meta of [
      metaOf(50, 4, 'imported'),
      metaOf(50, 5, 'imported'),
      metaOf(51, 5, 'imported'),
      metaOf(51, 5, 'exported'),
    ]) {
      await expect(half(meta)).rejects.toThrow('broke')
      expect(await parts()).toHaveLength(1)
    }
    const next = sender('transported')
    await s.receiveSnapshot(metaOf(51, 5, 'transported'), next.data)
    expect(next.asked).toEqual([0])
    await s.append(range(2, 60), { term: 1, vote: 7, commit: 60 }, true)
    await s.createSnapshot({ index: 60, term: 1, conf }, chunks('own'))
    await reopen()
    expect(await parts()).toEqual(['60-1.snap'])
  })

  test('a part that rotted costs a transfer, and no more', async () => {
    const meta = metaOf(50, 4, 'imported')
    const s = await create()
    await expect(s.receiveSnapshot(meta, sender('imported', { breakAt: 4 }).data)).rejects.toThrow('broke')
    const [name] = await readdir(path.join(dir, 'snapshots'))
    await writeFile(path.join(dir, 'snapshots', String(name)), 'imqo')
    await expect(s.receiveSnapshot(meta, sender('imported').data)).rejects.toMatchObject({ code: 'codec' })
    const last = sender('imported')
    await s.receiveSnapshot(meta, last.data)
    expect(last.asked).toEqual([0])
  })

  test('a snapshot that is held stays readable when newer ones come, and goes when it is released', async () => {
    const s = await create()
    const files = () => readdir(path.join(dir, 'snapshots'))
    await s.append(range(2, 20), { term: 1, vote: 7, commit: 20 }, true)
    await s.createSnapshot({ index: 5, term: 1, conf }, chunks('five'))
    const held = [s.holdSnapshot(), s.holdSnapshot()] as const
    await s.createSnapshot({ index: 9, term: 1, conf }, chunks('nine'))
    await s.createSnapshot({ index: 12, term: 1, conf }, chunks('twelve'))
    await s.compact(12)
    expect((await files()).toSorted()).toEqual(['12-1.snap', '5-1.snap'])
    expect([await collect(held[0].read(0)), await collect(held[1].read(2))]).toEqual(['five', 've'])
    await held[0].release()
    await held[0].release()
    expect(await files()).toHaveLength(2)
    await held[1].release()
    expect(await files()).toEqual(['12-1.snap'])
    const current = s.holdSnapshot()
    await current.release()
    expect(await collect(s.openSnapshot())).toBe('twelve')
  })

  test('a snapshot that is let go while it is read stays until it is read', async () => {
    const s = await create()
    const files = () => readdir(path.join(dir, 'snapshots'))
    await s.append(range(2, 20), { term: 1, vote: 7, commit: 20 }, true)
    await s.createSnapshot({ index: 5, term: 1, conf }, chunks('five'))
    const held = s.holdSnapshot()
    const reading = [held.read(0), held.read(1), held.read(0)].map((data) => data[Symbol.asyncIterator]())
    const [whole, givenUp, late] = reading as [(typeof reading)[0], (typeof reading)[0], (typeof reading)[0]]
    const first = whole.next() // the disk works on it
    await givenUp.next()
    await held.release()
    await s.createSnapshot({ index: 9, term: 1, conf }, chunks('nine'))
    await givenUp.return?.()
    expect((await files()).toSorted()).toEqual(['5-1.snap', '9-1.snap'])
    expect(String((await first).value)).toBe('five')
    expect((await whole.next()).done).toBe(true)
    expect(await files()).toEqual(['9-1.snap'])
    await expect(late.next()).rejects.toMatchObject({ code: 'dropped' })
    await s.append(range(21, 21), undefined, true)
  })

  test('many batches over several opens', async () => {
    let s = await create()
    let next = 2
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 50; i++, next++) await s.append([entry(next, 1 + round, 300)], undefined, true)
      s = await reopen()
      expect(s.lastIndex()).toBe(next - 1)
    }
    expect(all(s).length).toBe(200)
  })
})

describe('what is not as it was is refused', () => {
  test('nothing there, somebody else’s, or already there', async () => {
    await expect(DiskStore.open(levelDisk(dir), me)).rejects.toMatchObject({ code: 'missing' })
    await create()
    await close()
    await expect(DiskStore.open(levelDisk(dir), { ...me, id: 8 })).rejects.toMatchObject({ code: 'foreign' })
    await expect(DiskStore.open(levelDisk(dir), { ...me, clusterId: 'other' })).rejects.toMatchObject({
      code: 'foreign',
    })
    await expect(DiskStore.create(levelDisk(dir), { ...me, conf })).rejects.toMatchObject({ code: 'exists' })
    await rm(path.join(dir, 'identity.json'))
    await expect(DiskStore.open(levelDisk(dir), me)).rejects.toMatchObject({ code: 'corrupt' })
  })

  test('in use by another', async () => {
    await create()
    await expect(DiskStore.open(levelDisk(dir), me)).rejects.toMatchObject({ code: 'locked' })
  })

  test('a batch that is missing, at the beginning, in the middle, at the end', async () => {
    const s = await create()
    for (let i = 2; i < 14; i += 3) await s.append(range(i, i + 2), undefined, true)
    for (const first of [2, 8, 11]) {
      let lost: Buffer | undefined
      await tamper(async (db) => {
        lost = await db.get(batchKey(first))
        await db.del(batchKey(first))
      })
      await expect(reopen(), `batch ${first}`).rejects.toMatchObject(refused)
      await tamper((db) => db.put(batchKey(first), lost as Buffer))
    }
    expect((await reopen()).lastIndex()).toBe(13)
  })

  test('a wrong value with an intact database: batch, hard state, base, snapshot record', async () => {
    const s = await create()
    await s.append(range(2, 5), undefined, true)
    for (const key of [batchKey(2), 'hard', 'base', 'snapshot']) {
      let good: Buffer | undefined
      await tamper(async (db) => {
        good = await db.get(key)
        const bad = Buffer.from(good)
        bad[bad.length - 1] = (bad[bad.length - 1] as number) ^ 1
        await db.put(key, bad)
      })
      await expect(reopen(), key).rejects.toMatchObject(refused)
      await tamper((db) => db.put(key, good as Buffer))
    }
    await tamper((db) => db.del('hard'))
    await expect(reopen()).rejects.toMatchObject(refused)
  })

  test('a snapshot file that is lost, or read damaged', async () => {
    const s = await create()
    await s.append(range(2, 5), { term: 1, vote: 7, commit: 5 }, true)
    await s.createSnapshot({ index: 5, term: 1, conf }, chunks('state'))
    const file = path.join(dir, 'snapshots', '5-1.snap')
    await writeFile(file, 'stale')
    await expect(collect(s.openSnapshot())).rejects.toMatchObject({ code: 'corrupt' })
    await rm(file)
    await expect(reopen()).rejects.toMatchObject(refused)
  })
})

describe('after one error of the storage nothing is acknowledged any more', () => {
  /** A disk on which one operation fails, once. */
  async function failing(): Promise<{ s: DiskStore; fail: (what: Fault) => void }> {
    await create()
    await close()
    const real = levelDisk(dir)
    let next: Fault | undefined
    const check = (what: Fault) => {
      if (what !== next) return
      next = undefined
      throw Object.assign(new Error(`${what} failed`), { code: 'EIO' })
    }
    const disk: Disk = {
      ...real,
      async openDatabase(name, o) {
        const kv = await real.openDatabase(name, o)
        return { ...kv, batch: async (ops, sync) => (check('batch'), kv.batch(ops, sync)) }
      },
      async write(name, o) {
        const writer = await real.write(name, o)
        return {
          write: async (data) => (check('write'), writer.write(data)),
          sync: async () => (check('sync'), writer.sync()),
          close: () => writer.close(),
        }
      },
      rename: async (from, to) => (check('rename'), real.rename(from, to)),
      async *read(name, offset) {
        check('read')
        yield* real.read(name, offset)
      },
    }
    const s = await DiskStore.open(disk, me)
    open.push(s)
    await s.append(range(2, 5), { term: 1, vote: 7, commit: 5 }, true)
    await s.createSnapshot({ index: 3, term: 1, conf }, chunks('three'))
    return { s, fail: (what) => (next = what) }
  }
  type Fault = 'batch' | 'write' | 'sync' | 'rename' | 'read'
  const meta = metaOf(50, 4, 'imported')

  test.each<[string, Fault, (s: DiskStore) => Promise<unknown>]>([
    ['an append', 'batch', (s) => s.append(range(6, 6), undefined, true)],
    ['an append that is not synced', 'batch', (s) => s.append(range(6, 6), undefined, false)],
    ['a compaction', 'batch', (s) => s.compact(3)],
    ['writing an image', 'write', (s) => s.createSnapshot({ index: 5, term: 1, conf }, chunks('five'))],
    ['syncing an image', 'sync', (s) => s.createSnapshot({ index: 5, term: 1, conf }, chunks('five'))],
    ['naming an image', 'rename', (s) => s.createSnapshot({ index: 5, term: 1, conf }, chunks('five'))],
    ['recording an image', 'batch', (s) => s.createSnapshot({ index: 5, term: 1, conf }, chunks('five'))],
    ['writing what is received', 'write', (s) => s.receiveSnapshot(meta, sender('imported').data)],
    ['syncing what is received', 'sync', (s) => s.receiveSnapshot(meta, sender('imported').data)],
    ['reading an image', 'read', (s) => collect(s.openSnapshot())],
    ['reading an image for another', 'read', (s) => collect(s.holdSnapshot().read(1))],
    [
      'installing',
      'rename',
      async (s) => {
        await s.receiveSnapshot(meta, sender('imported').data)
        await s.installSnapshot(meta, undefined)
      },
    ],
  ])('%s', async (_, fault, work) => {
    const { s, fail } = await failing()
    fail(fault)
    await expect(work(s)).rejects.toMatchObject({
      code: 'io',
      message: expect.stringContaining(fault) as string,
    })
    for (const more of [
      () => s.append(range(6, 6), undefined, true),
      () => s.createSnapshot({ index: 4, term: 1, conf }, chunks('four')),
      () => s.receiveSnapshot(meta, sender('imported').data),
      () => collect(s.openSnapshot()),
    ])
      await expect(more()).rejects.toMatchObject({ code: 'io' })
    const again = await reopen()
    expect([again.lastIndex(), again.initial().index]).toEqual([5, 3])
  })

  test('a state machine that cannot be read', async () => {
    const { s } = await failing()
    const broken = async function* (): AsyncIterable<Uint8Array> {
      yield Buffer.from('x')
      throw new Error('no such row')
    }
    await expect(s.createSnapshot({ index: 4, term: 1, conf }, broken())).rejects.toMatchObject({
      code: 'io',
    })
    await expect(s.append(range(6, 6), undefined, true)).rejects.toMatchObject({ code: 'io' })
    await reopen()
    expect(await readdir(path.join(dir, 'snapshots'))).toEqual(['3-1.snap'])
  })
})
