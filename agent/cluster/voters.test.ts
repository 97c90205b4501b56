import { describe, expect, it } from 'vitest'
import type { ConfState } from '../../raft/index.ts'
import { nextChange, wantedVoters } from './voters.ts'

const conf = (voters: number[], learners: number[] = [], votersOutgoing: number[] = []): ConfState => ({
  voters, learners, votersOutgoing, learnersNext: [], autoLeave: false,
}) // prettier-ignore
const nodes = (...ready: boolean[]) => ready.map((is, at) => ({ member: at + 1, ready: is }))

describe('voters', () => {
  it('are 1, 3 or 5', () => {
    expect([1, 2, 3, 4, 5, 20].map(wantedVoters)).toEqual([1, 1, 3, 3, 5, 5])
  })

  it('begin as learners', () => {
    expect(nextChange(nodes(true, false), conf([1]))).toEqual({ changes: [{ type: 'learner', id: 2 }] })
    expect(nextChange(nodes(true, true), conf([1], [2]))).toBeUndefined()
  })

  it('go from one to three in one step, when both learners are ready', () => {
    expect(nextChange(nodes(true, true, false), conf([1], [2, 3]))).toBeUndefined()
    expect(nextChange(nodes(true, true, true), conf([1], [2, 3]))).toEqual({
      changes: [
        { type: 'voter', id: 2 },
        { type: 'voter', id: 3 },
      ],
    })
  })

  it('never shrink and never change twice at once', () => {
    expect(nextChange(nodes(true, true), conf([1, 2, 3]))).toBeUndefined()
    expect(nextChange(nodes(true, true, true, true), conf([1, 2], [], [1]))).toBeUndefined()
  })
})
