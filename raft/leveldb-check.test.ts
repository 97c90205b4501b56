import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { crc32c, oneBitAway } from './crc32c.ts'
import { DiskStore } from './disk-store.ts'
import { levelDisk } from './level-disk.ts'
import { EMPTY_CONF, type Entry } from './types.ts'

// On real LevelDB: what it would answer with older, wrong or no data is noticed before it opens the files.

const me = { id: 7, clusterId: 'lab' }
let root: string
let dir: string
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'raft-check-'))
  dir = path.join(root, 'member')
})
afterEach(() => rm(root, { recursive: true }))

const entry = (index: number, size: number): Entry => ({
  index,
  term: 1,
  kind: 'normal',
  data: Buffer.alloc(size, index),
})

/** A log of entries 2 … last, one record each; the sizes of its records differ. */
async function makeLog(last: number, size = 300): Promise<void> {
  const store = await DiskStore.create(levelDisk(dir), { ...me, conf: { ...EMPTY_CONF, voters: [7] } })
  for (let i = 2; i <= last; i++)
    await store.append([entry(i, size + (i % 7))], { term: 1, vote: 7, commit: i - 1 }, true)
  await store.close()
}

/** Opened and closed: LevelDB has moved the log into a table. */
async function reopen(): Promise<void> {
  await (await DiskStore.open(levelDisk(dir), me)).close()
}

const inLog = (name: string): string => path.join(dir, 'log', name)
async function theFile(pattern: RegExp): Promise<string> {
  const names = (await readdir(path.join(dir, 'log'))).filter((name) => pattern.test(name))
  expect(names).toHaveLength(1)
  return inLog(names[0] as string)
}

const refused = { code: 'corrupt', message: expect.stringContaining('new id') as string }
const expectRefused = (what: string) =>
  expect(DiskStore.open(levelDisk(dir), me), what).rejects.toMatchObject(refused)

/** The last entry that is found; the folder is as it was afterwards. */
async function lastFound(): Promise<number> {
  await cp(dir, path.join(root, 'kept'), { recursive: true })
  const store = await DiskStore.open(levelDisk(dir), me)
  const last = store.lastIndex()
  await store.close()
  await rm(dir, { recursive: true })
  await cp(path.join(root, 'kept'), dir, { recursive: true })
  await rm(path.join(root, 'kept'), { recursive: true })
  return last
}

/** Each of these bits, one after the other, in an otherwise good file. */
async function expectEveryFlipRefused(file: string, bits: Iterable<number>): Promise<void> {
  const good = await readFile(file)
  for (const bit of bits) {
    const bad = Buffer.from(good)
    bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7))
    await writeFile(file, bad)
    await expectRefused(`${path.basename(file)}, bit ${bit}`)
  }
  await writeFile(file, good)
}

function* every(step: number, from: number, to: number): Generator<number> {
  for (let n = from; n < to; n += step) yield n
}

describe('the write-ahead log', () => {
  test('one flipped bit anywhere, the last record included', async () => {
    await makeLog(120)
    const file = await theFile(/\.log$/)
    const bits = (await readFile(file)).length * 8
    expect(bits).toBeGreaterThan(33_000 * 8)
    await expectEveryFlipRefused(file, every(4999, 3, bits))
    // Of the last record more, of its header most.
    const last = bits - (await sizeOfLastRecord(file)) * 8
    await expectEveryFlipRefused(file, every(37, last, bits))
    await expectEveryFlipRefused(file, every(2, last, last + 7 * 8))
    expect(await lastFound()).toBe(120)
  })

  test('a last record that is cut anywhere is what a power cut leaves: the log ends before it', async () => {
    await makeLog(9)
    const file = await theFile(/\.log$/)
    const good = await readFile(file)
    const size = await sizeOfLastRecord(file)
    for (const cut of [1, 2, 10, size >> 1, size - 8, size - 7, size - 6, size - 1]) {
      await writeFile(file, good.subarray(0, good.length - cut))
      expect(await lastFound(), `${cut} bytes of ${size}`).toBe(8)
    }
  })

  test('a last record whose end was never written, and an end of zeros, are torn too', async () => {
    await makeLog(9)
    const file = await theFile(/\.log$/)
    const good = await readFile(file)
    const size = await sizeOfLastRecord(file)
    for (const missing of [20, size >> 1, size - 7, size]) {
      const bad = Buffer.from(good).fill(0, good.length - missing)
      await writeFile(file, bad)
      expect(await lastFound(), `${missing} bytes of ${size}`).toBe(8)
    }
    for (const more of [1, 7, 300, 32_768]) {
      await writeFile(file, Buffer.concat([good, Buffer.alloc(more)]))
      expect(await lastFound(), `${more} zeros`).toBe(9)
    }
  })

  test('a wrong record before others is never a torn one', async () => {
    await makeLog(30)
    const file = await theFile(/\.log$/)
    const good = await readFile(file)
    await writeFile(file, Buffer.from(good).fill(0, 4000, 4100))
    await expectRefused('zeros in the middle')
    await writeFile(file, Buffer.concat([good.subarray(0, 4000), good.subarray(4100)]))
    await expectRefused('a hole')
  })

  test('lost', async () => {
    await makeLog(9)
    await reopen()
    await rm(await theFile(/\.log$/))
    await expectRefused('no log')
  })
})

test('one flipped bit anywhere in the manifest, and the manifest lost', async () => {
  await makeLog(9)
  await reopen()
  const file = await theFile(/^MANIFEST/)
  const bits = (await readFile(file)).length * 8
  await expectEveryFlipRefused(file, every(5, 0, bits))
  await rm(file)
  await expectRefused('lost')
})

test('CURRENT: lost, empty, cut, any flipped bit; and nothing is deleted', async () => {
  await makeLog(20)
  await reopen()
  const before = await readdir(path.join(dir, 'log'))
  const file = inLog('CURRENT')
  const good = await readFile(file)
  // Of the newline at its end nothing depends.
  await expectEveryFlipRefused(file, every(3, 0, (good.length - 1) * 8))
  for (const bad of ['', good.subarray(0, 8), 'MANIFEST-999999\n']) {
    await writeFile(file, bad)
    await expectRefused(`"${String(bad)}"`)
  }
  await rm(file)
  await expectRefused('lost')
  expect(await readdir(path.join(dir, 'log'))).toEqual(before.filter((name) => name !== 'CURRENT'))
})

test('a table: one flipped bit anywhere, cut, lost', async () => {
  await makeLog(60, 1000)
  await reopen()
  const tables = (await readdir(path.join(dir, 'log'))).filter((name) => name.endsWith('.ldb'))
  const sizes = await Promise.all(tables.map(async (t) => (await readFile(inLog(t))).length))
  const file = inLog(tables[sizes.indexOf(Math.max(...sizes))] as string)
  const good = await readFile(file)
  expect(good.length).toBeGreaterThan(60_000)
  // What pads the footer is never looked at.
  const footer = (good.length - 48) * 8
  await expectEveryFlipRefused(file, every(8009, 0, footer))
  await expectEveryFlipRefused(file, every(41, footer - 400 * 8, footer + 4 * 8))
  await expectEveryFlipRefused(file, every(3, (good.length - 8) * 8, good.length * 8))
  await writeFile(file, good.subarray(0, good.length - 1))
  await expectRefused('cut')
  await rm(file)
  await expectRefused('lost')
})

test('what a crash of LevelDB leaves beside the files in use does not matter', async () => {
  await makeLog(9)
  await reopen()
  await writeFile(inLog('000999.ldb'), 'half of a table that a compaction was making')
  await writeFile(inLog('000998.dbtmp'), 'MANIF')
  expect(await lastFound()).toBe(9)
})

test('a single bit’s effect on a checksum is told from every other one', () => {
  const good = Buffer.from('the quick brown fox jumps over the lazy dog')
  const sum = crc32c(good)
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bad = Buffer.from(good)
    bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7))
    expect(oneBitAway(good.length, crc32c(bad) ^ sum)).toBe(true)
    const other = (bit * 7 + 11) % (good.length * 8)
    bad[other >> 3] = (bad[other >> 3] as number) ^ (1 << (other & 7))
    if (other !== bit) expect(oneBitAway(good.length, crc32c(bad) ^ sum)).toBe(false)
  }
})

/** The last physical record: the blocks are walked as LevelDB does. */
async function sizeOfLastRecord(file: string): Promise<number> {
  const data = await readFile(file)
  let last = 0
  for (let pos = 0; pos + 7 <= data.length;) {
    const left = 32_768 - (pos % 32_768)
    if (left < 7) pos += left
    else {
      last = 7 + data.readUInt16LE(pos + 4)
      pos += last
    }
  }
  return last
}
