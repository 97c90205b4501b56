import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { majorityIndex, quorumIndex, quorumVote } from './quorum.ts'
import { EMPTY_CONF, type ConfState, type NodeId } from './types.ts'

const conf = (voters: NodeId[], votersOutgoing: NodeId[] = []): ConfState => ({
  ...EMPTY_CONF,
  voters,
  votersOutgoing,
})

test.each([
  [[], {}, Infinity],
  [[1], { 1: 12 }, 12],
  [[1, 2], { 1: 12, 2: 5 }, 5],
  [[1, 2, 3], { 1: 12, 2: 5 }, 5],
  [[1, 2, 3], { 1: 12, 2: 5, 3: 14 }, 12],
  [[1, 2, 3, 4], { 1: 101, 2: 101, 3: 103, 4: 104 }, 101],
  [[1, 2, 3, 4], { 1: 9, 2: 9, 3: 8, 4: 8 }, 8], // half is no majority
  [[1, 2, 3, 4, 5], { 1: 5, 2: 4, 3: 3, 4: 2, 5: 1 }, 3],
])('majority of %j with %j is %d', (voters, acked: Record<number, number>, expected) => {
  expect(majorityIndex(voters, (id) => acked[id] ?? 0)).toBe(expected)
})

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 })
const acks = fc.dictionary(fc.constantFrom(...'123456789'), fc.nat(12))

test('the quorum index is the largest that a majority of each half has: counted the slow way', () => {
  fc.assert(
    fc.property(ids, ids, acks, (voters, outgoing, acked) => {
      fc.pre(voters.length > 0)
      const ack = (id: NodeId) => acked[String(id)] ?? 0
      const has = (half: NodeId[], i: number) =>
        half.length === 0 || half.filter((id) => ack(id) >= i).length * 2 > half.length
      let slow = 0
      for (let i = 1; i <= 12; i++) if (has(voters, i) && has(outgoing, i)) slow = i
      expect(quorumIndex(conf(voters, outgoing), ack)).toBe(slow)
    }),
  )
})

describe('votes', () => {
  const vote = (c: ConfState, yes: NodeId[], no: NodeId[] = []) =>
    quorumVote(c, new Map([...yes.map((id) => [id, true] as const), ...no.map((id) => [id, false] as const)]))

  test('need a majority of each half', () => {
    expect(vote(conf([1, 2, 3]), [1])).toBe('pending')
    expect(vote(conf([1, 2, 3]), [1, 2])).toBe('won')
    expect(vote(conf([1, 2, 3]), [1], [2, 3])).toBe('lost')
    expect(vote(conf([1, 2]), [1], [2])).toBe('lost')
    expect(vote(conf([1, 2, 3, 4]), [1, 2], [3, 4])).toBe('lost')
    expect(vote(conf([1, 2, 3], [3, 4, 5]), [1, 2])).toBe('pending')
    expect(vote(conf([1, 2, 3], [3, 4, 5]), [1, 2, 4, 5])).toBe('won')
    expect(vote(conf([1, 2, 3], [3, 4, 5]), [1, 2], [4, 5])).toBe('lost')
    expect(vote(conf([1, 2, 3]), [7, 8, 9])).toBe('pending') // strangers do not count
  })

  test('cannot be won by two sides at a time', () => {
    fc.assert(
      fc.property(
        ids,
        ids,
        fc.dictionary(fc.constantFrom(...'123456789'), fc.boolean()),
        (voters, outgoing, sides) => {
          fc.pre(voters.length > 0)
          const c = conf(voters, outgoing)
          const side = (yes: boolean) =>
            new Map(Object.entries(sides).map(([id, v]) => [Number(id), v === yes]))
          expect(
            [quorumVote(c, side(true)), quorumVote(c, side(false))].filter((r) => r === 'won').length,
          ).toBeLessThan(2)
        },
      ),
    )
  })
})
