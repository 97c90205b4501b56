import { describe, expect, it } from 'vitest'
import type { ConfState } from '../../raft/index.ts'
import { type Candidate, nextStep, wantedVoters } from './voters.ts'

const conf = (voters: number[], learners: number[] = [], votersOutgoing: number[] = []): ConfState => ({
  voters, learners, votersOutgoing, learnersNext: [], autoLeave: false,
}) // prettier-ignore
/** Nodes by member: `r` ready, `b` behind, `l` lost, `-` no such node (any more). */
const nodes = (text: string): Candidate[] =>
  [...text].flatMap((kind, at) =>
    kind === '-' ? [] : [{ member: at + 1, ready: kind === 'r', lost: kind === 'l' }],
  )
const change = (text: string) => ({
  change: {
    changes: text.split(' ').map((each) => {
      const type = { '+': 'voter', '~': 'learner', '-': 'remove' }[each[0] ?? '']
      return { type, id: Number(each.slice(1)) }
    }),
  },
})

describe('voters', () => {
  it('are 1, 3 or 5', () => {
    expect([1, 2, 3, 4, 5, 20].map(wantedVoters)).toEqual([1, 1, 3, 3, 5, 5])
  })

  it('begin as learners', () => {
    expect(nextStep(nodes('rb'), conf([1]), 1)).toEqual(change('~2'))
    expect(nextStep(nodes('rr'), conf([1], [2]), 1)).toBeUndefined()
  })

  it('go from one to three and from three to five in one step, when all learners needed are ready', () => {
    expect(nextStep(nodes('rrb'), conf([1], [2, 3]), 1)).toBeUndefined()
    expect(nextStep(nodes('rrr'), conf([1], [2, 3]), 1)).toEqual(change('+2 +3'))
    expect(nextStep(nodes('rrrrb'), conf([1, 2, 3], [4, 5]), 1)).toBeUndefined()
    expect(nextStep(nodes('rrrrr'), conf([1, 2, 3], [4, 5]), 1)).toEqual(change('+4 +5'))
  })

  it('never change twice at once, and never before the cluster has a record of its nodes', () => {
    expect(nextStep(nodes('rr--'), conf([1, 2], [], [1]), 1)).toBeUndefined()
    expect(nextStep([], conf([1]), 1)).toBeUndefined()
  })

  it('never shrink by silence', () => {
    expect(nextStep(nodes('rll'), conf([1, 2, 3]), 1)).toBeUndefined()
    expect(nextStep(nodes('rrlb'), conf([1, 2, 3], [4]), 1)).toBeUndefined()
  })

  it('are replaced when lost, each by a learner that is ready', () => {
    expect(nextStep(nodes('rrlr'), conf([1, 2, 3], [4]), 1)).toEqual(change('+4 ~3'))
    expect(nextStep(nodes('rrrllr'), conf([1, 2, 3, 4, 5], [6]), 1)).toEqual(change('+6 ~4'))
    // Behind, or away for a moment, is not lost.
    expect(nextStep(nodes('rrbr'), conf([1, 2, 3], [4]), 1)).toBeUndefined()
    // The leader does not judge itself.
    expect(nextStep(nodes('lrrr'), conf([1, 2, 3], [4]), 1)).toBeUndefined()
  })

  it('shrink with an admin’s remove: three hosts to two, five to four', () => {
    expect(nextStep(nodes('rr-'), conf([1, 2, 3]), 1)).toEqual(change('~2 -3'))
    expect(nextStep(nodes('rr-'), conf([1, 2, 3]), 2)).toEqual(change('~1 -3'))
    expect(nextStep(nodes('rrrr-'), conf([1, 2, 3, 4, 5]), 2)).toEqual(change('~4 -5'))
    // Who does not answer is let go before who does.
    expect(nextStep(nodes('rlrr-'), conf([1, 2, 3, 4, 5]), 1)).toEqual(change('~2 -5'))
  })

  it('stay three when one of four hosts is removed: the learner takes its place in the same step', () => {
    expect(nextStep(nodes('rr-r'), conf([1, 2, 3], [4]), 1)).toEqual(change('+4 -3'))
    // Not yet ready: it follows later.
    expect(nextStep(nodes('rr-b'), conf([1, 2, 3], [4]), 1)).toEqual(change('-3'))
    expect(nextStep(nodes('rr-r'), conf([1, 2], [4]), 1)).toEqual(change('+4'))
    expect(nextStep(nodes('rrr-'), conf([1, 2, 3], [4]), 1)).toEqual(change('-4'))
  })

  it('wait where the set after the step could decide nothing', () => {
    expect(nextStep(nodes('rbb-'), conf([1, 2, 3, 4]), 1)).toBeUndefined()
  })

  it('hand over before a leader goes that was removed itself', () => {
    expect(nextStep(nodes('-br'), conf([1, 2, 3]), 1)).toEqual({ handTo: 3 })
    expect(nextStep(nodes('-r'), conf([1], [2]), 1)).toEqual(change('+2'))
    expect(nextStep(nodes('-r'), conf([1, 2]), 1)).toEqual({ handTo: 2 })
    expect(nextStep(nodes('-r'), conf([1, 2]), 2)).toEqual(change('-1'))
    expect(nextStep(nodes('-b'), conf([1], [2]), 1)).toBeUndefined()
  })

  it('leave a host that is to be switched off: it hands its leadership over, and a learner takes its vote', () => {
    const leaving = (text: string, which: number) =>
      nodes(text).map((each) => (each.member === which ? { ...each, leaving: true } : each))
    expect(nextStep(leaving('rrrr', 1), conf([1, 2, 3], [4]), 1)).toEqual({ handTo: 2 })
    expect(nextStep(leaving('rrrr', 1), conf([1, 2, 3], [4]), 2)).toEqual(change('+4 ~1'))
    expect(nextStep(leaving('rrr', 1), conf([1, 2, 3]), 2)).toBeUndefined()
    expect(nextStep(leaving('rrrr', 4), conf([1, 2, 3], [4]), 1)).toBeUndefined()
    // The only voter lets the other in first.
    expect(nextStep(leaving('rr', 1), conf([1], [2]), 1)).toEqual(change('+2'))
    expect(nextStep(leaving('rr', 1), conf([1, 2]), 2)).toEqual(change('~1'))
    // With nobody to follow it, it leads on.
    expect(nextStep(leaving('rb', 1), conf([1], [2]), 1)).toBeUndefined()
  })
})
