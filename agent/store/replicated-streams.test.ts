import { appendFile, readFile, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { ranked } from './peer-io.ts'
import type { StreamKey, StreamRecord } from './store.ts'
import { type Agent, Rig, until } from './testing/rig.ts'

const log: StreamKey = { task: 'exp-1-worker-0', attempt: 1, kind: 'log' }
const metrics: StreamKey = { ...log, kind: 'metrics' }

let rig: Rig
afterEach(() => rig.stop())

const fileOf = (agent: Agent, key: StreamKey) =>
  path.join(agent.data, 'streams', key.task, `${key.attempt}.${key.kind}.jsonl`)
const contentOf = (agent: Agent, key: StreamKey) => readFile(fileOf(agent, key), 'utf8').catch(() => '')
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => ({ n: from + index }))
const lines = (from: number, to: number) =>
  numbers(from, to)
    .map((record) => JSON.stringify(record) + '\n')
    .join('')

/** The agents other than `a` in the order in which they are asked to hold a copy. */
const followersOf = (key: StreamKey) =>
  ranked(`${key.task}/${key.attempt}.${key.kind}`, rig.network.nodes().filter((node) => node !== 'a')).map(
    (node) => rig.agent(node),
  ) // prettier-ignore
const puts = (agent: Agent) => agent.peers.served.filter((line) => line.startsWith('PUT'))

async function collect(records: AsyncIterable<StreamRecord>): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const { value } of records) values.push(value)
  return values
}

describe('two copies', () => {
  test('an acknowledged record is on two disks, the same bytes on both', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const a = rig.agent('a')
    expect(await a.streams.append(metrics, numbers(0, 3), 2)).toEqual({ size: lines(0, 3).length, copies: 2 })
    const [first, second] = followersOf(metrics)
    expect(await contentOf(a, metrics)).toBe(lines(0, 3))
    expect(await contentOf(first!, metrics)).toBe(lines(0, 3))
    expect(await contentOf(second!, metrics)).toBe('')
  })

  test('a cluster of one node acknowledges its single copy', async () => {
    rig = await Rig.start('a')
    expect(await rig.agent('a').streams.append(metrics, numbers(0, 1), 2)).toMatchObject({ copies: 1 })
  })

  test('nothing is acknowledged, and nothing kept, while no second node can be had', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    await rig.agent('b').peers.kill()
    await expect(streams.append(metrics, numbers(0, 1), 2)).rejects.toMatchObject({
      code: 'node_unreachable',
    })
    expect(await contentOf(rig.agent('a'), metrics)).toBe('')
    await rig.agent('b').peers.start()
    await streams.append(metrics, numbers(5, 6), 2)
    expect(await contentOf(rig.agent('a'), metrics)).toBe(lines(5, 6))
    expect(await contentOf(rig.agent('b'), metrics)).toBe(lines(5, 6))
  })

  test('what a follower kept of an append that failed is cut by the next one', async () => {
    rig = await Rig.start('a', 'b')
    const [a, b] = [rig.agent('a'), rig.agent('b')]
    await a.streams.append(metrics, numbers(0, 1), 2)
    // The follower writes the record, and dies before it answers.
    b.peers.before = async (request) => {
      if (request.method !== 'PUT') return
      await appendFile(fileOf(b, metrics), lines(7, 9))
      await rig.crash('b')
    }
    await expect(a.streams.append(metrics, numbers(7, 9), 2)).rejects.toMatchObject({
      code: 'node_unreachable',
    })
    b.peers.before = () => undefined
    const again = await rig.restart('b')
    expect(await contentOf(again, metrics)).toBe(lines(0, 1) + lines(7, 9))
    await a.streams.append(metrics, numbers(1, 2), 2)
    expect(await contentOf(again, metrics)).toBe(lines(0, 2))
    expect(await contentOf(a, metrics)).toBe(lines(0, 2))
  })

  test('appends that come together share requests, in order', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    const all = numbers(0, 500).map((record) => streams.append(metrics, [record], 2))
    const sizes = (await Promise.all(all)).map(({ size }) => size)
    expect(sizes.at(-1)).toBe(lines(0, 500).length)
    expect(puts(rig.agent('b')).length).toBeLessThanOrEqual(3)
    expect(await contentOf(rig.agent('b'), metrics)).toBe(lines(0, 500))
  })

  test('a follower that dies is replaced, and the new one is filled from the beginning', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { streams } = rig.agent('a')
    const [first, second] = followersOf(metrics)
    await streams.append(metrics, numbers(0, 10), 2)
    await first!.peers.kill()
    expect(await streams.append(metrics, numbers(10, 12), 2)).toMatchObject({ copies: 2 })
    expect(await contentOf(second!, metrics)).toBe(lines(0, 12))
    // It stays where it is when the first comes back: no copying to and fro.
    await first!.peers.start()
    await streams.append(metrics, numbers(12, 13), 2)
    expect(await contentOf(first!, metrics)).toBe(lines(0, 10))
    expect(await contentOf(second!, metrics)).toBe(lines(0, 13))
  })

  test('a follower without space is passed over', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const [first, second] = followersOf(metrics)
    first!.space.full = true
    await rig.agent('a').streams.append(metrics, numbers(0, 1), 2)
    expect(await contentOf(second!, metrics)).toBe(lines(0, 1))
  })
})

describe('a follower whose copy differs', () => {
  test('one that lost its tail is sent the rest from where it is', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    await streams.append(metrics, numbers(0, 10), 2)
    await rig.crash('b')
    await truncate(fileOf(rig.agent('b'), metrics), lines(0, 4).length + 3)
    await rig.restart('b')
    rig.agent('b').peers.served.length = 0
    await streams.append(metrics, numbers(10, 11), 2)
    expect(await contentOf(rig.agent('b'), metrics)).toBe(lines(0, 11))
    expect(puts(rig.agent('b')).map((line) => /offset=(\d+)/.exec(line)?.[1])).toEqual([
      String(lines(0, 10).length),
      String(lines(0, 4).length),
    ])
  })

  test('after a restart of the writer it goes on with a copy of its own history', async () => {
    rig = await Rig.start('a', 'b')
    await rig.agent('a').streams.append(metrics, numbers(0, 10), 2)
    await rig.crash('a')
    const a = await rig.restart('a')
    rig.agent('b').peers.served.length = 0
    await a.streams.append(metrics, numbers(10, 11), 2)
    expect(puts(rig.agent('b'))).toEqual([
      `PUT /streams/exp-1-worker-0/1.metrics?offset=${lines(0, 10).length}&sync=1`,
    ])
  })

  test.each([
    ['longer than the writer after its crash', lines(0, 20)],
    ['as long but different', lines(0, 9) + '{"n":8}\n'],
    ['shorter and different', lines(100, 103)],
  ])('one that is %s is written anew: the writer is right', async (_, content) => {
    rig = await Rig.start('a', 'b')
    await rig.agent('a').streams.append(metrics, numbers(0, 10), 2)
    await rig.crash('a')
    await rig.crash('b')
    await writeFile(fileOf(rig.agent('b'), metrics), content)
    const [a, b] = [await rig.restart('a'), await rig.restart('b')]
    await a.streams.append(metrics, numbers(10, 11), 2)
    expect(await contentOf(b, metrics)).toBe(lines(0, 11))
  })
})

describe('copying behind', () => {
  test('is acknowledged here at once and arrives at a follower', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    expect(await streams.append(log, numbers(0, 5), 1)).toEqual({ size: lines(0, 5).length, copies: 1 })
    await until(async () => (await contentOf(rig.agent('b'), log)) === lines(0, 5))
  })

  test('an append waits while a copy that is being made lags far behind', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    let copying = false
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    rig.agent('b').peers.before = ({ method }) => {
      if (method !== 'PUT') return
      copying = true
      return held
    }
    await streams.append(log, numbers(0, 1), 1)
    await until(() => copying)
    const record = { text: 'x'.repeat(3 * 1024 ** 2) }
    let done = 0
    const appends = [1, 2, 3, 4].map(() => streams.append(log, [record], 1).then(() => (done += 1)))
    const file = await streams.local.file(log)
    await until(() => done === 2 && file.size > 9 * 1024 ** 2)
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    expect(done).toBe(2)
    release()
    await Promise.all(appends)
    await until(async () => (await rig.agent('b').streams.size(log)) === file.size)
  })

  test('goes on by itself when the only follower comes back', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    await rig.agent('b').peers.kill()
    for (let n = 0; n < 50; n += 1) await streams.append(log, numbers(n, n + 1), 1)
    expect(await contentOf(rig.agent('a'), log)).toBe(lines(0, 50))
    await rig.agent('b').peers.start()
    await until(async () => (await contentOf(rig.agent('b'), log)) === lines(0, 50))
  })
})

describe('seal', () => {
  test('both copies are sealed with the same digest; again is the same', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { streams } = rig.agent('a')
    await streams.append(log, numbers(0, 1000), 1)
    const sealed = await streams.seal(log)
    const [first] = followersOf(log)
    expect(sealed).toMatchObject({ bytes: lines(0, 1000).length, holders: ['a', first!.node] })
    expect(await contentOf(first!, log)).toBe(lines(0, 1000))
    expect(await streams.seal(log)).toEqual(sealed)
    await expect(streams.append(log, numbers(0, 1), 1)).rejects.toMatchObject({ code: 'conflict' })
    await rig.crash('a')
    expect(await (await rig.restart('a')).streams.seal(log)).toEqual(sealed)
  })

  test('a stream without any record is sealed too', async () => {
    rig = await Rig.start('a', 'b')
    expect(await rig.agent('a').streams.seal(log)).toMatchObject({ bytes: 0, holders: ['a', 'b'] })
  })

  test('finds a copy that was changed in the middle, and writes it anew', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    await streams.append(metrics, numbers(0, 10), 2)
    await writeFile(fileOf(rig.agent('b'), metrics), lines(0, 10).replace('3', 'x'))
    expect(await streams.seal(metrics)).toMatchObject({ holders: ['a', 'b'] })
    expect(await contentOf(rig.agent('b'), metrics)).toBe(lines(0, 10))
  })

  test('with nobody reachable it tries until told to stop, and names itself alone', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    await rig.agent('b').peers.kill()
    await streams.append(log, numbers(0, 1), 1)
    const stop = new AbortController()
    const sealing = streams.seal(log, stop.signal)
    const file = await streams.local.file(log)
    await until(() => file.sealed !== undefined)
    stop.abort()
    expect(await sealing).toMatchObject({ holders: ['a'] })
    await rig.agent('b').peers.start()
    expect(await streams.seal(log)).toMatchObject({ holders: ['a', 'b'] })
  })
})

describe('reading', () => {
  test('from the start, from any record, and the last few', async () => {
    rig = await Rig.start('a', 'b')
    const [a, b] = [rig.agent('a'), rig.agent('b')]
    await a.streams.append(metrics, numbers(0, 10), 2)
    for (const { streams } of [a, b]) {
      const read = (options: object) =>
        collect(streams.read(metrics, { from: 0, follow: false, nodes: ['a', 'b'], ...options }))
      expect(await read({})).toEqual(numbers(0, 10))
      expect(await read({ from: lines(0, 7).length })).toEqual(numbers(7, 10))
      expect(await read({ tail: 2 })).toEqual(numbers(8, 10))
      expect(await read({ tail: 50 })).toEqual(numbers(0, 10))
      expect(await read({ from: 100_000 })).toEqual([])
      await expect(read({ from: 3 })).rejects.toMatchObject({ code: 'invalid_request' })
    }
    expect(await a.streams.last(metrics)).toEqual({ value: { n: 9 }, next: lines(0, 10).length })
  })

  test('follows across agents until the seal', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { streams } = rig.agent('a')
    const readers = ['a', 'b', 'c'].map((node) =>
      collect(rig.agent(node).streams.read(log, { from: 0, follow: true, nodes: ['a'] })),
    )
    for (let n = 0; n < 20; n += 1) await streams.append(log, numbers(n, n + 1), 1)
    await streams.seal(log)
    for (const values of await Promise.all(readers)) expect(values).toEqual(numbers(0, 20))
  })

  test('a follower of an idle stream sees only records, however many signs of life pass', async () => {
    rig = await Rig.start('a', 'b')
    const { streams } = rig.agent('a')
    await streams.append(log, numbers(0, 1), 1)
    const seen: StreamRecord[] = []
    const reading = (async () => {
      const options = { from: 0, follow: true, nodes: ['a'] }
      for await (const record of rig.agent('b').streams.read(log, options)) seen.push(record)
    })()
    await until(() => seen.length === 1)
    // Three beats of the rig's 50 ms, counted by the clock: nothing else tells that they passed.
    await new Promise((resolve) => setTimeout(resolve, 160))
    await streams.append(log, numbers(1, 2), 1)
    await streams.seal(log)
    await reading
    expect(seen).toEqual([
      { value: { n: 0 }, next: lines(0, 1).length },
      { value: { n: 1 }, next: lines(0, 2).length },
    ])
  })

  test('goes on with the other holder at the same byte when the first dies mid-read', async () => {
    rig = await Rig.start('a', 'b', 'c')
    const { streams } = rig.agent('a')
    const many = numbers(0, 2_000).map((record) => ({ ...record, text: 'x'.repeat(10_000) }))
    await streams.append(log, many, 1)
    const { holders } = await streams.seal(log)
    const reader = rig.network.nodes().find((node) => !holders.includes(node))!
    const seen: unknown[] = []
    const options = { from: 0, follow: true, nodes: holders }
    for await (const { value } of rig.agent(reader).streams.read(log, options)) {
      seen.push(value)
      if (seen.length === 10) await rig.agent('a').peers.kill()
    }
    expect(seen).toEqual(many)
    const [served] = rig.agent(holders[1]!).peers.served.filter((line) => line.startsWith('GET'))
    expect(Number(/from=(\d+)/.exec(served!)?.[1])).toBeGreaterThan(0)
  })

  test('waits for the writer of an unsealed stream to come back, and ends when told to', async () => {
    rig = await Rig.start('a', 'b')
    await rig.agent('a').streams.append(metrics, numbers(0, 2), 2)
    await rig.crash('a')
    const stop = new AbortController()
    const seen: unknown[] = []
    const options = { from: 0, follow: true, nodes: ['a', 'b'], signal: stop.signal }
    const reading = (async () => {
      for await (const { value } of rig.agent('b').streams.read(metrics, options)) seen.push(value)
    })()
    await until(() => seen.length === 2)
    const a = await rig.restart('a')
    await a.streams.append(metrics, numbers(2, 3), 2)
    await until(() => seen.length === 3)
    stop.abort()
    await reading
    expect(seen).toEqual(numbers(0, 3))
  })

  test('says so when no holder can be reached', async () => {
    rig = await Rig.start('a', 'b', 'c')
    await rig.agent('a').streams.append(log, numbers(0, 2), 1)
    const [, second] = followersOf(log)
    await rig.agent('a').peers.kill()
    const read = second!.streams.read(log, { from: 0, follow: false, nodes: ['a'] })
    await expect(collect(read)).rejects.toMatchObject({ code: 'node_unreachable' })
  })
})
