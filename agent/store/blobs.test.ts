import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { needs } from '../../test/setup/needs.ts'
import { LocalBlobs } from './blobs.ts'
import { FakeSpace, gather } from './testing/rig.ts'
import { smallDisk } from './testing/small-disk.ts'

const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest('hex')
const bytes = (count: number) => Buffer.from(Uint8Array.from({ length: count }, (_, index) => index * 31))
const pieces = (data: Buffer, size = 1000) =>
  Readable.from(
    (function* () {
      for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size)
    })(),
  )

let data: string
let blobs: LocalBlobs
beforeEach(async () => {
  data = await mkdtemp(path.join(tmpdir(), 'blobs-'))
  blobs = await LocalBlobs.open(data, new FakeSpace())
})
afterEach(() => rm(data, { recursive: true }))

const tmpOf = (folder: string) => readdir(path.join(folder, 'blobs', 'tmp'))
const everything = async () => (await readdir(path.join(data, 'blobs'), { recursive: true })).sort()

test('a stored file lies under its digest and is read back whole or in part', async () => {
  const content = bytes(600_000)
  const digest = sha256(content)
  expect(await blobs.put(pieces(content))).toEqual({ sha256: digest, bytes: content.length })
  expect(await readFile(path.join(data, 'blobs', digest.slice(0, 2), digest))).toEqual(content)
  expect(await blobs.size(digest)).toBe(content.length)
  expect(await buffer(blobs.read(digest))).toEqual(content)
  expect(await buffer(blobs.read(digest, { start: 5, end: 500_000 }))).toEqual(content.subarray(5, 500_001))
  expect(await buffer(blobs.read(digest, { start: 599_990, end: 700_000 }))).toEqual(
    content.subarray(599_990),
  )
  expect(await tmpOf(data)).toEqual([])
})

test('an empty file is a file', async () => {
  const { sha256: digest } = await blobs.put(Readable.from([]))
  expect(digest).toBe(sha256(''))
  expect(await blobs.size(digest)).toBe(0)
  expect(await buffer(blobs.read(digest))).toEqual(Buffer.alloc(0))
})

test('what was stored is found after opening again; leftovers of a crash are not', async () => {
  const { sha256: digest } = await blobs.put(pieces(bytes(10)))
  await writeFile(path.join(data, 'blobs', 'tmp', 'half-written'), 'x')
  const again = await LocalBlobs.open(data, new FakeSpace())
  expect(await again.size(digest)).toBe(10)
  expect(await tmpOf(data)).toEqual([])
})

test('the same content from many at once is one file', async () => {
  const content = bytes(5_000)
  await Promise.all(Array.from({ length: 20 }, () => blobs.put(pieces(content))))
  const digest = sha256(content)
  expect(await everything()).toEqual([digest.slice(0, 2), `${digest.slice(0, 2)}/${digest}`, 'tmp'].sort())
})

test('another digest than promised is refused and leaves nothing', async () => {
  const wrong = blobs.put(pieces(bytes(10)), { sha256: sha256('other') })
  await expect(wrong).rejects.toMatchObject({ code: 'invalid_request' })
  expect(await everything()).toEqual(['tmp'])
})

test.each(['', 'ABC', '../../../etc/passwd', 'g'.repeat(64), `${'a'.repeat(64)}/..`])(
  'the digest %j names no file',
  async (digest) => {
    const refused = { code: 'invalid_request' }
    await expect(blobs.size(digest)).rejects.toMatchObject(refused)
    await expect(blobs.delete(digest)).rejects.toMatchObject(refused)
    await expect(buffer(blobs.read(digest))).rejects.toMatchObject(refused)
    await expect(blobs.put(Readable.from(['x']), { sha256: digest })).rejects.toMatchObject(refused)
  },
)

test('a sender that breaks off leaves nothing', async () => {
  const source = new PassThrough()
  const storing = blobs.put(source)
  source.write(bytes(1_000), () => source.destroy(new Error('gone')))
  await expect(storing).rejects.toThrow('gone')
  expect(await everything()).toEqual(['tmp'])
})

test('a missing file says so when read', async () => {
  await expect(buffer(blobs.read(sha256('nothing')))).rejects.toMatchObject({ code: 'not_found' })
  expect(await blobs.size(sha256('nothing'))).toBeUndefined()
  expect(blobs.touch(sha256('nothing'))).toBeUndefined()
})

test('a reader that leaves half-way lets go of the file', async () => {
  const { sha256: digest } = await blobs.put(pieces(bytes(2_000_000), 100_000))
  const reading = blobs.read(digest)
  for await (const _ of reading) break
  expect(reading.destroyed).toBe(true)
})

describe('below the floor', () => {
  test('nothing new is stored, and the sender is left open to be told', async () => {
    const space = new FakeSpace()
    const full = await LocalBlobs.open(data, space)
    space.full = true
    const source = pieces(bytes(10))
    await expect(full.put(source)).rejects.toThrow('no space')
    expect(source.destroyed).toBe(false)
    expect(await everything()).toEqual(['tmp'])
  })
})

describe('a really full disk', needs.namespaces, () => {
  test('is told as disk_low and leaves nothing half-way', async () => {
    const disk = await smallDisk(256)
    try {
      const full = await LocalBlobs.open(disk.folder, new FakeSpace())
      const { sha256: kept } = await full.put(pieces(bytes(50_000)))
      const source = pieces(bytes(1_000_000), 10_000)
      await expect(full.put(source)).rejects.toMatchObject({ code: 'disk_low' })
      expect(source.destroyed).toBe(false)
      expect(await tmpOf(disk.folder)).toEqual([])
      expect(await buffer(full.read(kept))).toEqual(bytes(50_000))
      // The room that the failed one took is free again.
      expect(await full.put(pieces(bytes(100_000)))).toMatchObject({ bytes: 100_000 })
    } finally {
      await disk.remove()
    }
  })
})

describe('sweeping', () => {
  const old = new Date('2020-01-01')
  const fileOf = (digest: string) => path.join(data, 'blobs', digest.slice(0, 2), digest)

  test('takes only what nobody touched since', async () => {
    const { sha256: digest } = await blobs.put(pieces(bytes(10)))
    await utimes(fileOf(digest), old, old)
    expect(blobs.sweep(digest, old.getTime() - 1)).toBe(false)
    expect(blobs.touch(digest)).toBe(10)
    expect(blobs.sweep(digest, old.getTime())).toBe(false)
    await utimes(fileOf(digest), old, old)
    await blobs.put(pieces(bytes(10)))
    expect(blobs.sweep(digest, old.getTime())).toBe(false)
    await utimes(fileOf(digest), old, old)
    expect(blobs.sweep(digest, old.getTime())).toBe(true)
    expect(await blobs.size(digest)).toBeUndefined()
  })

  test('the list has every file with its last touch, and nothing else', async () => {
    const { sha256: digest } = await blobs.put(pieces(bytes(10)))
    await utimes(fileOf(digest), old, old)
    await mkdir(path.join(data, 'blobs', 'zz'), { recursive: true })
    expect(await gather(blobs.list())).toEqual([{ sha256: digest, bytes: 10, touched: old.getTime() }])
  })
})
