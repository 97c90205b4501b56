import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { LogLine } from '../../contract/index.ts'
import type { LogRecord } from '../store/store.ts'
import { createServices, type Services } from './index.ts'
import type { LogQuery } from './logs.ts'
import { admin, World } from './testing/world.ts'

let world: World
let services: Services
beforeEach(async () => {
  world = await World.create()
  services = createServices(world.deps())
})
afterEach(async () => {
  services.close()
  await world.close()
})

const record = (second: number, text: string, stream: 'o' | 'e' = 'o'): LogRecord => ({
  t: `2026-03-01T08:00:${String(second).padStart(2, '0')}.5Z`,
  s: stream,
  l: text,
})
const write = (task: string, attempt: number, ...records: LogRecord[]) =>
  world.streams.append({ task, attempt, kind: 'log' }, records)
const sealed = { files: 1, bytes: 1, sha256: '0'.repeat(64), holders: ['node-1'] }

async function read(ref: string, query: Partial<LogQuery> = {}, limit = Infinity): Promise<LogLine[]> {
  const control = new AbortController()
  const lines: LogLine[] = []
  for await (const { data } of await services.logs.open(
    admin,
    ref,
    { follow: false, ...query },
    control.signal,
  )) {
    lines.push(data)
    if (lines.length >= limit) break
  }
  control.abort()
  return lines
}
const texts = (lines: readonly LogLine[]) => lines.map((line) => line.text)

describe('a log', () => {
  it('of several tasks is merged by time', async () => {
    const [a = '', b = ''] = world.submit('exp-1', { replicas: 2 })
    world.run('exp-1')
    await write(a, 1, record(1, 'a1'), record(4, 'a4', 'e'))
    await write(b, 1, record(2, 'b2'), record(3, 'b3'), record(9, 'b9'))
    const lines = await read('exp-1')
    expect(texts(lines)).toEqual(['a1', 'b2', 'b3', 'a4', 'b9'])
    expect(lines[3]).toMatchObject({ task: a, attempt: 1, stream: 'stderr', time: '2026-03-01T08:00:04.5Z' })
  })

  it('is cut by tail, since and search', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await write(
      task,
      1,
      ...Array.from({ length: 10 }, (_, at) => record(at, at % 2 ? `Odd ${at}` : `even ${at}`)),
    )
    expect(texts(await read('exp-1', { tail: 2 }))).toEqual(['even 8', 'Odd 9'])
    expect(await read('exp-1', { tail: 0 })).toEqual([])
    expect(texts(await read('exp-1', { since: '2026-03-01T08:00:07.5Z' }))).toEqual([
      'Odd 7',
      'even 8',
      'Odd 9',
    ])
    expect(texts(await read('exp-1', { since: '2026-03-01T08:00:09Z' }))).toEqual(['Odd 9'])
    expect(texts(await read('exp-1', { search: 'oDD' }))).toEqual([
      'Odd 1',
      'Odd 3',
      'Odd 5',
      'Odd 7',
      'Odd 9',
    ])
  })

  it('resumes at the offset of a line without gap or repeat', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await write(task, 1, ...Array.from({ length: 5 }, (_, at) => record(at, `line ${at}`)))
    const all = await read('exp-1')
    for (const [at, { offset }] of all.entries())
      expect(texts(await read('exp-1', { offset }))).toEqual(texts(all.slice(at + 1)))
    world.submit('exp-2', { replicas: 2 })
    await expect(read('exp-2', { offset: 5 })).rejects.toMatchObject({
      errors: [{ pointer: '/query/offset' }],
    })
  })

  it('resumes several tasks by the id of the last event', async () => {
    const [a = '', b = ''] = world.submit('exp-1', { replicas: 2 })
    world.run('exp-1')
    await write(a, 1, record(1, 'a1'), record(3, 'a3'))
    await write(b, 1, record(2, 'b2'), record(4, 'b4'))
    const told: { id?: string; text: string }[] = []
    const open = await services.logs.open(admin, 'exp-1', { follow: false }, new AbortController().signal)
    for await (const { id, data } of open) told.push({ text: data.text, ...(id ? { id } : {}) })
    for (const [at, { id }] of told.entries())
      expect(texts(await read('exp-1', { lastEventId: id }))).toEqual(
        told.slice(at + 1).map(({ text }) => text),
      )
    expect(await read('exp-1', { lastEventId: 'not one of ours' })).toHaveLength(4)
  })

  it('of an earlier attempt is there by its number', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await write(task, 1, record(1, 'only'))
    expect(texts(await read('exp-1', { attempt: 1 }))).toEqual(['only'])
    await expect(read('exp-1', { attempt: 2 })).rejects.toMatchObject({ code: 'not_found' })
    await expect(read('exp-1', { task: 'exp-1-ps-0' })).rejects.toMatchObject({ code: 'not_found' })
  })

  it('of a task that has not begun is empty', async () => {
    world.submit('exp-1')
    expect(await read('exp-1')).toEqual([])
    world.run('exp-1')
    expect(await read('exp-1')).toEqual([])
  })

  it('that nobody reachable holds says so, after the lines of the others', async () => {
    const [a = '', b = ''] = world.submit('exp-1', { replicas: 2 })
    world.run('exp-1')
    await write(b, 1, record(1, 'b1'))
    world.streams.lost.add(`${a}/1.log`)
    const lines: string[] = []
    const open = await services.logs.open(admin, 'exp-1', { follow: false }, new AbortController().signal)
    const reading = (async () => {
      for await (const { data } of open) lines.push(data.text)
    })()
    await expect(reading).rejects.toMatchObject({ code: 'node_unreachable' })
    expect(lines).toEqual(['b1'])
  })
})

describe('a followed log', () => {
  /** Collects lines in the background. */
  function follow(ref: string, query: Partial<LogQuery> = {}) {
    const lines: string[] = []
    const control = new AbortController()
    const ended = (async () => {
      for await (const { data } of await services.logs.open(
        admin,
        ref,
        { ...query, follow: true },
        control.signal,
      ))
        lines.push(data.text)
    })()
    const until = (count: number) => vi.waitFor(() => expect(lines).toHaveLength(count), { interval: 5 })
    return { lines, control, ended, until }
  }

  it('begins before the task does, and ends when the task has', async () => {
    const [task = ''] = world.submit('exp-1')
    const { lines, ended, until } = follow('exp-1')
    world.run('exp-1')
    await write(task, 1, record(1, 'first'))
    await until(1)
    await write(task, 1, record(2, 'last'))
    await world.streams.seal({ task, attempt: 1, kind: 'log' })
    world.finish(task, { log: sealed })
    await ended
    expect(lines).toEqual(['first', 'last'])
  })

  it('waits between the seal of the log and the report of the end', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await write(task, 1, record(1, 'only'))
    await world.streams.seal({ task, attempt: 1, kind: 'log' })
    const { lines, ended, until } = follow('exp-1')
    await until(1)
    world.finish(task, { log: sealed })
    await ended
    expect(lines).toEqual(['only'])
  })

  it('tells what ended long ago and ends', async () => {
    const [a = '', b = ''] = world.submit('exp-1', { replicas: 2 })
    world.run('exp-1')
    for (const task of [a, b]) {
      await write(task, 1, record(1, task))
      await world.streams.seal({ task, attempt: 1, kind: 'log' })
      world.finish(task, { log: sealed })
    }
    const { lines, ended } = follow('exp-1', { tail: 10 })
    await ended
    expect(lines.toSorted()).toEqual([a, b])
  })

  it('ends for a task that was stopped before it began', async () => {
    world.submit('exp-1')
    const { lines, ended } = follow('exp-1')
    world.log.propose({ type: 'experiment.stop', id: 'exp-1' }, admin)
    await ended
    expect(lines).toEqual([])
  })

  it('ends when the client leaves', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    const { lines, control, ended, until } = follow('exp-1')
    await write(task, 1, record(1, 'x'))
    await until(1)
    control.abort()
    await ended
    await write(task, 1, record(2, 'y'))
    expect(lines).toEqual(['x'])
  })

  it('waits for a node that comes back', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await write(task, 1, record(1, 'kept'))
    world.streams.lost.add(`${task}/1.log`)
    const { control, ended, until } = follow('exp-1')
    world.streams.lost.clear()
    await until(1)
    control.abort()
    await ended
  })

  it('gives up on a log nobody sealed some time after its task was over', async () => {
    const [task = ''] = world.submit('exp-1')
    world.run('exp-1')
    await write(task, 1, record(1, 'before the node died'))
    const { lines, ended, until } = follow('exp-1')
    await until(1)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      world.finish(task)
      await vi.advanceTimersByTimeAsync(11_000)
      await ended
    } finally {
      vi.useRealTimers()
    }
    expect(lines).toEqual(['before the node died'])
  })
})
