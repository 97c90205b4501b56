import { expect, test } from 'vitest'
import { Arrivals, Outbox } from './forwards.ts'
import type { ProposeMessage } from './types.ts'

test('commands for the leader leave in messages of bounded size, in their order, each with its own number', () => {
  const outbox = new Outbox(10)
  const numbers = [3, 4, 3, 12, 1, 1].map((length) => outbox.add(new Uint8Array(length)))
  expect(numbers).toEqual([1, 1, 1, 2, 3, 3])
  const sizes = outbox.take().map(({ number, commands }) => [number, ...commands.map((c) => c.length)])
  expect(sizes).toEqual([
    [1, 3, 4, 3],
    [2, 12],
    [3, 1, 1],
  ])
  expect(outbox.take()).toEqual([])
  expect(outbox.add(new Uint8Array(1))).toBe(4)
})

const message = (term: number, origin: number, number: number): ProposeMessage => ({
  type: 'propose',
  from: 2,
  to: 1,
  term,
  origin,
  number,
  commands: [],
})

test('each message is handled once, in whatever order they come, also after the sender began anew', () => {
  const arrivals = new Arrivals()
  const first = (origin: number, number: number) => arrivals.first(message(7, origin, number))
  expect([1, 3, 2, 3, 1, 2, 4].map((n) => first(10, n))).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
    true,
  ])
  expect(first(11, 1)).toBe(true)
  expect(first(10, 1)).toBe(false)
  expect(first(11, 1)).toBe(false)
})

test('a message that many others overtook counts as lost', () => {
  const arrivals = new Arrivals()
  for (let n = 2; n <= 65; n++) expect(arrivals.first(message(7, 10, n))).toBe(true)
  expect(arrivals.first(message(7, 10, 1))).toBe(false)
  expect(arrivals.first(message(8, 10, 1))).toBe(true)
})
