import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeConfChange, encodeConfChange } from './codec.ts'
import {
  applyConfChange,
  checkConf,
  confEqual,
  enterJoint,
  isJoint,
  leaveJoint,
  members,
  simple,
} from './confchange.ts'
import { describeConf } from './describe.ts'
import type { RaftError } from './types.ts'
import { EMPTY_CONF, type ConfChangeItem, type ConfState } from './types.ts'

const conf = (voters: number[], learners: number[] = []): ConfState => ({ ...EMPTY_CONF, voters, learners })
const voter = (id: number): ConfChangeItem => ({ type: 'voter', id })
const learner = (id: number): ConfChangeItem => ({ type: 'learner', id })
const remove = (id: number): ConfChangeItem => ({ type: 'remove', id })
const invalid = { code: 'conf_invalid' }

describe('simple changes', () => {
  test.each([
    ['add a voter', conf([1]), [voter(2)], 'voters=(1 2)'],
    ['add a learner', conf([1]), [learner(2)], 'voters=(1) learners=(2)'],
    ['promote', conf([1], [2]), [voter(2)], 'voters=(1 2)'],
    ['demote', conf([1, 2]), [learner(2)], 'voters=(1) learners=(2)'],
    ['remove a voter', conf([1, 2, 3]), [remove(2)], 'voters=(1 3)'],
    ['remove a learner', conf([1], [2]), [remove(2)], 'voters=(1)'],
    ['again', conf([1, 2]), [voter(2)], 'voters=(1 2)'],
    ['nobody', conf([1]), [remove(9)], 'voters=(1)'],
    ['several learners at once', conf([1]), [learner(3), learner(2)], 'voters=(1) learners=(2 3)'],
  ])('%s', (_, before, items, after) => {
    expect(describeConf(simple(before, items))).toBe(after)
  })

  test('never two voters, never the last, never in a joint configuration', () => {
    expect(() => simple(conf([1]), [voter(2), voter(3)])).toThrow(expect.objectContaining(invalid))
    expect(() => simple(conf([1, 2]), [voter(3), remove(2)])).toThrow(expect.objectContaining(invalid))
    expect(() => simple(conf([1]), [remove(1)])).toThrow(expect.objectContaining(invalid))
    expect(() => simple(conf([1]), [learner(1)])).toThrow(expect.objectContaining(invalid))
    expect(() => simple(enterJoint(conf([1]), [voter(2)], true), [voter(3)])).toThrow(
      expect.objectContaining(invalid),
    )
    expect(() => simple(conf([1]), [voter(0)])).toThrow(expect.objectContaining(invalid))
  })
})

describe('joint changes', () => {
  test('replace everybody', () => {
    const joint = enterJoint(conf([1, 2, 3]), [voter(4), voter(5), remove(1), remove(2)], true)
    expect(describeConf(joint)).toBe('voters=(3 4 5) outgoing=(1 2 3) autoLeave')
    expect(members(joint)).toEqual([1, 2, 3, 4, 5])
    expect(describeConf(leaveJoint(joint))).toBe('voters=(3 4 5)')
  })

  test('a demoted voter is a learner only after the joint state', () => {
    const joint = enterJoint(conf([1, 2, 3]), [learner(2), voter(4)], true)
    expect(describeConf(joint)).toBe('voters=(1 3 4) outgoing=(1 2 3) learnersNext=(2) autoLeave')
    expect(describeConf(leaveJoint(joint))).toBe('voters=(1 3 4) learners=(2)')
  })

  test('are not nested, and not left twice', () => {
    const joint = enterJoint(conf([1]), [voter(2)], true)
    expect(() => enterJoint(joint, [voter(3)], true)).toThrow(expect.objectContaining(invalid))
    expect(() => leaveJoint(conf([1]))).toThrow(expect.objectContaining(invalid))
    expect(() => enterJoint(conf([]), [voter(1)], true)).toThrow(expect.objectContaining(invalid))
  })
})

const items = fc.array(
  fc.record({
    type: fc.constantFrom('voter' as const, 'learner' as const, 'remove' as const),
    id: fc.integer({ min: 1, max: 7 }),
  }),
  { maxLength: 4 },
)
const quorums = (ids: readonly number[]) => {
  const out: number[][] = []
  for (let mask = 0; mask < 1 << ids.length; mask++) {
    const q = ids.filter((_, i) => mask & (1 << i))
    if (q.length * 2 > ids.length) out.push(q)
  }
  return out
}

test('any chain of changes keeps configurations valid and every two neighbours’ quorums overlapping', () => {
  fc.assert(
    fc.property(fc.array(items, { maxLength: 8 }), (changes) => {
      let c = conf([1, 2, 3])
      for (const change of changes) {
        const before = c
        try {
          c = applyConfChange(c, { changes: change })
        } catch (e) {
          expect((e as RaftError).code).toBe('conf_invalid')
          continue
        }
        checkConf(c)
        expect(c.voters.length).toBeGreaterThan(0)
        // A quorum of one and a quorum of the other must share a member (thesis 4.3).
        const halves = (x: ConfState) => (isJoint(x) ? [x.voters, x.votersOutgoing] : [x.voters])
        const shared = halves(before).some((a) =>
          halves(c).some((b) =>
            quorums(a).every((q) => quorums(b).every((p) => p.some((id) => q.includes(id)))),
          ),
        )
        expect(shared, `${describeConf(before)} -> ${describeConf(c)}`).toBe(true)
      }
    }),
    { numRuns: 300 },
  )
})

test('changes survive encoding', () => {
  fc.assert(
    fc.property(items, (changes) => {
      expect(decodeConfChange(encodeConfChange({ changes }))).toEqual({ changes })
    }),
  )
  expect(confEqual(conf([1, 2]), conf([1, 2]))).toBe(true)
  expect(confEqual(conf([1, 2]), conf([1], [2]))).toBe(false)
})
