import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { needs } from '../../test/setup/needs.ts'
import { following } from './stream-handler.ts'
import { recordsOf } from './stream-reader.ts'
import { LocalStreams, parseStreamName, streamName } from './streams.ts'
import type { StreamKey } from './store.ts'
import { FakeSpace, gather } from './testing/rig.ts'
import { smallDisk } from './testing/small-disk.ts'

const key: StreamKey = { task: 'exp-1-worker-0', attempt: 2, kind: 'log' }
const name = 'exp-1-worker-0/2.log'

let data: string
let streams: LocalStreams
beforeEach(async () => {
  data = await mkdtemp(path.join(tmpdir(), 'streams-'))
  streams = await LocalStreams.open(data, new FakeSpace())
})
afterEach(async () => {
  await streams.close()
  await rm(data, { recursive: true })
})

const pathOf = (suffix: string) => path.join(data, 'streams', name + suffix)
const lines = (...values: unknown[]) =>
  Buffer.from(values.map((value) => JSON.stringify(value) + '\n').join(''))
async function lay(content: string | Buffer, suffix = '.jsonl') {
  await mkdir(path.dirname(pathOf(suffix)), { recursive: true })
  await writeFile(pathOf(suffix), content)
}
const reopened = () => LocalStreams.open(data, new FakeSpace())
const text = async (body: AsyncIterable<Buffer>) => Buffer.concat(await gather(body)).toString()

describe('names', () => {
  test.each(['', '.', '..', '../x', 'a/b', '/a', 'a\\b', 'a\0', '-a', 'a.', 'a'.repeat(201), 'ä'])(
    'the task id %j names no stream',
    async (task) => {
      expect(() => streamName({ ...key, task })).toThrow('No such stream')
      expect(parseStreamName(`${task}/1.log`)).toBeUndefined()
      await expect(streams.append({ ...key, task }, lines(1), true)).rejects.toMatchObject({
        code: 'invalid_request',
      })
      await expect(streams.delete(task)).rejects.toMatchObject({ code: 'invalid_request' })
    },
  )

  test.each([0, -1, 1.5, NaN, Infinity])('attempt %d is none', (attempt) => {
    expect(() => streamName({ ...key, attempt })).toThrow('No such stream')
  })

  test('a name and its key are each other’s', () => {
    expect(streamName(key)).toBe(name)
    expect(parseStreamName(name)).toEqual(key)
    for (const wrong of ['a/1.text', 'a/01.log', 'a/1.log.jsonl', 'a', 'a/b/1.log'])
      expect(parseStreamName(wrong)).toBeUndefined()
  })
})

describe('after a crash', () => {
  test.each([
    ['a torn last record', '{"a":1}\n{"a":2}\n{"a":', '{"a":1}\n{"a":2}\n'],
    ['nothing but a torn record', '{"a', ''],
    ['zeros that were never written', '{"a":1}\n\0\0\0\0', '{"a":1}\n'],
    ['whole records', '{"a":1}\n', '{"a":1}\n'],
    ['a torn record longer than a block', `{"a":1}\n"${'x'.repeat(200_000)}`, '{"a":1}\n'],
  ])('%s: only whole records stay', async (_, before, after) => {
    await lay(before)
    const file = await streams.file(key)
    expect(file.size).toBe(after.length)
    expect(await readFile(pathOf('.jsonl'), 'utf8')).toBe(after)
    await streams.append(key, lines({ a: 9 }), true)
    expect(await readFile(pathOf('.jsonl'), 'utf8')).toBe(after + '{"a":9}\n')
  })

  test('what was sealed stays sealed; a marker that does not fit its stream does not count', async () => {
    await streams.append(key, lines(1, 2), false)
    const sealed = await (await streams.file(key)).seal()
    expect((await (await reopened()).file(key)).sealed).toEqual(sealed)
    await lay(lines(1))
    expect((await (await reopened()).file(key)).sealed).toBeUndefined()
  })
})

test('concurrent appends stand one after the other, whole', async () => {
  const all = Array.from({ length: 50 }, (_, index) => streams.append(key, lines({ index }), false))
  const sizes = await Promise.all(all)
  expect(sizes).toEqual(sizes.toSorted((a, b) => a - b))
  const values = await gather(recordsOf((await streams.file(key)).bytes(0, Infinity), 0))
  expect(values.map(({ value }) => value)).toEqual(Array.from({ length: 50 }, (_, index) => ({ index })))
})

test('the tail is found backwards over blocks', async () => {
  const records = Array.from({ length: 3_000 }, (_, index) => `${index}`.padStart(5, '0').repeat(20))
  await streams.append(key, lines(...records), false)
  const file = await streams.file(key)
  for (const count of [1, 2, 700, 2_999, 3_000, 5_000]) {
    const from = await file.tailStart(count)
    const tail = await text(file.bytes(from, Infinity))
    expect(tail).toBe(lines(...records.slice(-count)).toString())
  }
  expect(await file.tailStart(0)).toBe(file.size)
})

test('a start inside a record is refused', async () => {
  await streams.append(key, lines(1, 22, 333), false)
  const file = await streams.file(key)
  for (const at of [0, 2, 5, 9, 100]) await file.checkStart(at)
  for (const at of [1, 3, 4, 8])
    await expect(file.checkStart(at)).rejects.toMatchObject({ code: 'invalid_request' })
})

describe('placing at an offset', () => {
  const first = lines('aaa', 'bbb')
  test.each([
    ['at the end', first.length, 'ccc', { accepted: true, size: 18 }, ['aaa', 'bbb', 'ccc']],
    ['again', 6, 'bbb', { accepted: true, size: 12 }, ['aaa', 'bbb']],
    ['after a gap', 18, 'ddd', { accepted: false, size: 12 }, ['aaa', 'bbb']],
    ['other bytes', 6, 'xxx', { accepted: false, size: 12, differs: true }, ['aaa', 'bbb']],
  ] as const)('%s', async (_, offset, value, answer, after) => {
    await streams.append(key, first, false)
    const file = await streams.file(key)
    expect(await file.appendAt(offset, lines(value))).toEqual(answer)
    expect(await readFile(pathOf('.jsonl'))).toEqual(lines(...after))
  })

  test('partly known, partly new', async () => {
    await streams.append(key, first, false)
    expect(await (await streams.file(key)).appendAt(6, lines('bbb', 'ccc'))).toMatchObject({ size: 18 })
    expect(await readFile(pathOf('.jsonl'))).toEqual(lines('aaa', 'bbb', 'ccc'))
  })

  test('a sealed stream takes the same again, and nothing else', async () => {
    await streams.append(key, first, false)
    const file = await streams.file(key)
    await file.seal()
    expect(await file.appendAt(0, first)).toEqual({ accepted: true, size: 12 })
    await expect(file.appendAt(12, lines('ccc'))).rejects.toMatchObject({ code: 'conflict' })
    await expect(file.truncate(6)).rejects.toMatchObject({ code: 'conflict' })
    await expect(file.append(lines('ccc'), true)).rejects.toMatchObject({ code: 'conflict' })
    expect(await file.seal({ sha256: 'other', bytes: 12 })).toBeUndefined()
  })
})

describe('following', () => {
  test('wakes on each append, without a timer, and ends at the seal', async () => {
    const file = await streams.file(key)
    const reading = text(following(file, 0, undefined))
    for (const n of [1, 2, 3]) await streams.append(key, lines(n), false)
    await file.seal()
    expect(await reading).toBe('1\n2\n3\n')
  })

  test('signs of life come between records, never within one', async () => {
    const file = await streams.file(key)
    const body = following(file, 0, undefined, 1)
    await streams.append(key, lines(1), false)
    expect(String((await body.next()).value)).toBe('1\n')
    expect(String((await body.next()).value)).toBe('\n')
    // A follower's copy may stand in the middle of a record for a while.
    await file.appendAt(2, Buffer.from('"half'))
    let next = body.next()
    for (let part; (part = String((await next).value)) !== '"half'; next = body.next())
      expect(part).toBe('\n')
    next = body.next()
    await new Promise((resolve) => setTimeout(resolve, 20))
    await file.appendAt(7, Buffer.from('"\n'))
    expect(String((await next).value)).toBe('"\n')
    await file.seal()
  })

  test('ends when the task is deleted, and when told to', async () => {
    const file = await streams.file(key)
    await streams.append(key, lines(1), false)
    const stop = new AbortController()
    const stopped = text(following(file, 0, stop.signal))
    const deleted = text(following(file, 2, undefined))
    stop.abort()
    await stopped
    await streams.delete(key.task)
    expect(await deleted).toBe('')
    await expect(file.append(lines(2), false)).rejects.toMatchObject({ code: 'not_found' })
  })
})

test('deleting a task leaves others alone; removing one stream leaves the task’s others', async () => {
  const other = { ...key, task: 'exp-1-worker-01' }
  const metrics = { ...key, kind: 'metrics' } as const
  for (const one of [key, metrics, other]) await streams.append(one, lines(1), false)
  await streams.remove(key)
  expect(await readdir(path.join(data, 'streams', key.task))).toEqual(['2.metrics.jsonl'])
  await streams.remove(metrics)
  expect(await readdir(path.join(data, 'streams'))).toEqual([other.task])
  await streams.delete(key.task)
  expect(await streams.find(key)).toBeUndefined()
  expect((await streams.find(other))?.size).toBe(2)
})

test('the list has every stream with its last change', async () => {
  await streams.append(key, lines(1), false)
  await (await streams.file(key)).seal()
  const old = new Date('2020-01-01')
  await utimes(pathOf('.jsonl'), old, old)
  await writeFile(path.join(data, 'streams', 'stray'), '')
  expect(await gather(streams.list())).toEqual([{ ...key, touched: old.getTime() }])
})

describe('a really full disk', needs.namespaces, () => {
  test('refuses the append as disk_low and keeps the stream whole', async () => {
    const disk = await smallDisk(64)
    try {
      const full = await LocalStreams.open(disk.folder, new FakeSpace())
      await full.append(key, lines('kept'), true)
      await expect(full.append(key, lines('x'.repeat(100_000)), true)).rejects.toMatchObject({
        code: 'disk_low',
      })
      const file = path.join(disk.folder, 'streams', `${name}.jsonl`)
      expect(await readFile(file)).toEqual(lines('kept'))
      await full.append(key, lines('after'), true)
      expect(await readFile(file)).toEqual(lines('kept', 'after'))
      await full.close()
    } finally {
      await disk.remove()
    }
  })
})
