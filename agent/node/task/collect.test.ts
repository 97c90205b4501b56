import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DoubleBlobs } from '../doubles.ts'
import type { ManifestLine } from '../../store/store.ts'
import { collect, type CollectOptions } from './collect.ts'

let root: string
let output: string
let blobs: DoubleBlobs
beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'collect-'))
  output = path.join(root, 'output')
  await mkdir(output)
  blobs = new DoubleBlobs()
})
afterEach(() => rm(root, { recursive: true }))

const run = (change: Partial<CollectOptions> = {}) =>
  collect(output, {
    blobs,
    node: 'node-1',
    draft: path.join(root, 'draft'),
    patienceMs: 60_000,
    signal: new AbortController().signal,
    ...change,
  })
const digest = (text: string) => createHash('sha256').update(text).digest('hex')
const manifest = (sha256: string) =>
  (blobs.held.get(sha256)?.toString() ?? '')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ManifestLine)

test('every file is kept under its path, in order, and the manifest too', async () => {
  await mkdir(path.join(output, 'deep', 'er'), { recursive: true })
  await writeFile(path.join(output, 'b.txt'), 'b')
  await writeFile(path.join(output, 'a.txt'), '')
  await writeFile(path.join(output, 'deep', 'er', 'ü mlaut'), 'deep')
  const { kept, notes } = await run()
  expect(notes).toEqual([])
  expect(kept).toMatchObject({ files: 3, bytes: 5, holders: ['node-1', 'node-2'] })
  expect(manifest(kept.sha256)).toEqual([
    { path: 'a.txt', bytes: 0, sha256: digest('') },
    { path: 'b.txt', bytes: 1, sha256: digest('b') },
    { path: 'deep/er/ü mlaut', bytes: 4, sha256: digest('deep') },
  ])
  expect(blobs.held.get(digest('deep'))?.toString()).toBe('deep')
  expect(await readdir(root)).toEqual(['output'])
})

test('an empty folder has an empty manifest', async () => {
  const { kept } = await run()
  expect(kept).toEqual({ files: 0, bytes: 0, sha256: digest(''), holders: ['node-1', 'node-2'] })
})

test('links are not followed, and pipes are not waited for', async () => {
  await writeFile(path.join(root, 'secret'), 'of the host')
  await symlink('../secret', path.join(output, 'link'))
  await symlink('..', path.join(output, 'folder'))
  execFileSync('mkfifo', [path.join(output, 'pipe')])
  const { kept } = await run()
  expect(kept.files).toBe(0)
  expect(blobs.held.has(digest('of the host'))).toBe(false)
})

test('names that artifacts cannot have are left out and told', async () => {
  await writeFile(path.join(output, 'new\nline'), 'x')
  await writeFile(path.join(output, 'back\\slash'), 'x')
  await writeFile(path.join(output, 'good'), 'x')
  const { kept, notes } = await run()
  expect(manifest(kept.sha256).map((line) => line.path)).toEqual(['good'])
  expect(notes.join('|')).toMatch(/back.*slash.*\|.*new\\nline/)
})

test('of many left out only some are told', async () => {
  for (let i = 0; i < 30; i++) await writeFile(path.join(output, `bad\n${i}`), '')
  const { notes } = await run()
  expect(notes).toHaveLength(21)
  expect(notes.at(-1)).toBe('and 10 more')
})

test('once no second node could be had for one file, the others do not wait as long again', async () => {
  for (let i = 0; i < 40; i++) await writeFile(path.join(output, `f${i}`), String(i))
  blobs.second = false
  let waits = 0
  const replicate = blobs.replicate.bind(blobs)
  blobs.replicate = (sha256, signal) => {
    waits++
    return replicate(sha256, signal)
  }
  const { kept } = await run({ patienceMs: 30 })
  expect(kept).toMatchObject({ files: 40, holders: ['node-1'] })
  expect(waits).toBeLessThanOrEqual(10)
})

test('the holders told are those of every file', async () => {
  for (const name of ['a', 'b', 'c']) await writeFile(path.join(output, name), name)
  blobs.replicate = (sha256) =>
    Promise.resolve(sha256 === digest('b') ? ['node-1', 'node-3'] : ['node-1', 'node-2', 'node-3'])
  expect((await run()).kept.holders).toEqual(['node-1', 'node-3'])
})

test('a store that takes no more is an error, not a loss', async () => {
  await writeFile(path.join(output, 'a'), 'a')
  blobs.putError = new Error('disk low')
  await expect(run()).rejects.toThrow('disk low')
  blobs.putError = undefined
  expect((await run()).kept.files).toBe(1)
})

test('many files are kept a few at a time', async () => {
  for (let i = 0; i < 2000; i++)
    await writeFile(path.join(output, `file-${String(i).padStart(5, '0')}`), String(i))
  let [now, most] = [0, 0]
  const put = blobs.put.bind(blobs)
  blobs.put = async (source: Readable) => {
    most = Math.max(most, ++now)
    const stored = await put(source)
    now--
    return stored
  }
  const { kept } = await run()
  expect(kept.files).toBe(2000)
  expect(manifest(kept.sha256).map((line) => line.path)).toEqual((await readdir(output)).toSorted())
  expect(most).toBeLessThanOrEqual(8)
})
