import { describe, expect, it, vi } from 'vitest'
import { World } from '../services/testing/world.ts'
import { DigestHistory } from './digests.ts'
import { ReplicaCheck, verdictOf } from './replica-check.ts'

const of = (digests: Record<string, number>) => new Map(Object.entries(digests))

describe('replicas at the same entry', () => {
  it('that differ from most are wrong, also the one that asks', () => {
    expect(verdictOf(of({ a: 1, b: 1, c: 1 }), 'a')).toEqual({
      right: ['a', 'b', 'c'],
      wrong: [],
      undecided: false,
    })
    expect(verdictOf(of({ a: 1, b: 2, c: 1 }), 'a')).toEqual({
      right: ['a', 'c'],
      wrong: ['b'],
      undecided: false,
    })
    expect(verdictOf(of({ a: 2, b: 1, c: 1 }), 'a')).toEqual({
      right: ['b', 'c'],
      wrong: ['a'],
      undecided: false,
    })
  })

  it('of which no majority agrees are all left as they are', () => {
    expect(verdictOf(of({ a: 1, b: 2 }), 'a')).toEqual({ right: ['a'], wrong: ['b'], undecided: true })
    expect(verdictOf(of({ a: 1, b: 2, c: 3 }), 'a')).toMatchObject({ undecided: true })
    expect(verdictOf(of({ a: 1, b: 1, c: 2, d: 2 }), 'a')).toMatchObject({ undecided: true })
  })

  it('alone, or unheard, are right', () => {
    expect(verdictOf(of({ a: 1 }), 'a')).toEqual({ right: ['a'], wrong: [], undecided: false })
    expect(verdictOf(of({}), 'a')).toEqual({ right: [], wrong: [], undecided: true })
  })
})

describe('the digests of the last entries', () => {
  it('are found at their entry and between two, as long as they are kept', () => {
    const history = new DigestHistory(10, 100)
    history.push(12, 120)
    expect([9, 10, 11, 12, 99].map((index) => history.at(index))).toEqual([undefined, 100, 100, 120, 120])
    for (let index = 13; index < 40_000; index++) history.push(index, index * 10)
    expect(history.at(39_000)).toBe(390_000)
    expect(history.at(12)).toBeUndefined()
  })
})

describe('the leader compares', () => {
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

  /** Three agents with these digests; what each was asked to do. */
  async function three(digests: [number, number, number], voters = true) {
    const world = await World.create(3)
    const asked: string[] = []
    const current = [...digests]
    const checks = world.agents.map(
      (cluster, at) =>
        new ReplicaCheck({
          cluster,
          digestAt: () => current[at],
          handOver: async (nodes) => (asked.push(`hand over to ${nodes.join()}`), voters),
          rebuild: async (right) => void asked.push(`${cluster.self.node} from ${right.join()}`),
          log: silent,
          everyMs: 1_000_000,
        }),
    )
    const codes = () =>
      world.log.events.map(({ code }) => code).filter((code) => code.startsWith('node.state'))
    const flags = () =>
      [...world.log.state.nodes.values()].filter((row) => row.state_differs).map(({ id }) => id)
    const close = async () => {
      for (const check of checks) check.stop()
      await world.close()
    }
    return {
      asked,
      codes,
      flags,
      current,
      close,
      leader: checks[0] as ReplicaCheck,
      other: checks[1] as ReplicaCheck,
    }
  }

  it('and does nothing where all are the same, nor where it does not lead', async () => {
    const { asked, codes, leader, other, close } = await three([1, 1, 1])
    await leader.check()
    await other.check()
    expect([asked, codes()]).toEqual([[], []])
    await close()
  })

  it('and names a follower that differs once, has it made anew, and says when it is right again', async () => {
    const { asked, codes, flags, current, leader, close } = await three([1, 1, 2])
    await leader.check()
    await vi.waitFor(() => expect(asked).toEqual(['node-3 from node-1,node-2']))
    expect(flags()).toEqual(['node-3'])
    await leader.check()
    await vi.waitFor(() => expect(asked).toHaveLength(2))
    expect(codes()).toEqual(['node.state_differs'])
    current[2] = 1
    await leader.check()
    expect(codes()).toEqual(['node.state_differs', 'node.state_equal'])
    expect(flags()).toEqual([])
    await close()
  })

  it('and hands over first when it is itself that differs; as the only voter it is made anew at once', async () => {
    const one = await three([2, 1, 1])
    await one.leader.check()
    expect([one.asked, one.flags()]).toEqual([['hand over to node-2,node-3'], ['node-1']])
    await one.close()
    const two = await three([2, 1, 1], false)
    await two.leader.check()
    expect(two.asked).toEqual(['hand over to node-2,node-3', 'node-1 from node-2,node-3'])
    await two.close()
  })

  it('and rebuilds nobody while no majority says who is right', async () => {
    const { asked, flags, leader, close } = await three([1, 2, 3])
    await leader.check()
    expect([asked, flags()]).toEqual([[], ['node-2', 'node-3']])
    await close()
  })
})
