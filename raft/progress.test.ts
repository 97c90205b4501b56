import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Inflights, Progress } from './progress.ts'

const make = (match: number, next: number, window = 256): Progress => {
  const pr = new Progress(next, false, new Inflights(window, 1 << 20))
  pr.match = match
  return pr
}

describe('inflights', () => {
  test('are full by count or by bytes, and freed up to an index', () => {
    const byCount = new Inflights(3, 1000)
    for (const i of [1, 2, 3]) byCount.add(i, 10)
    expect(byCount.full).toBe(true)
    byCount.freeTo(2)
    expect([byCount.full, byCount.count]).toEqual([false, 1])

    const byBytes = new Inflights(100, 25)
    byBytes.add(1, 20)
    expect(byBytes.full).toBe(false)
    byBytes.add(2, 20) // the last one may go over, or a large message could never be sent
    expect(byBytes.full).toBe(true)
    expect(() => byBytes.add(3, 1)).toThrow(/full/)
    byBytes.freeTo(1)
    expect(byBytes.full).toBe(false)
    byBytes.reset() // the byte count too, or replication stalls for ever
    byBytes.add(4, 24)
    expect([byBytes.full, byBytes.count]).toEqual([false, 1])
  })
})

describe('states', () => {
  test('probe sends one append at a time', () => {
    const pr = make(0, 5)
    pr.sentAppend(0, 0, 0)
    expect(pr.blocked).toBe(false) // an empty one does not count
    pr.sentAppend(1, 10, 0)
    expect([pr.blocked, pr.next]).toEqual([true, 5])
    expect(pr.acked(5)).toBe(true)
    expect([pr.blocked, pr.match, pr.next]).toEqual([false, 5, 6])
  })

  test('replicate runs ahead until the window is full', () => {
    const pr = make(4, 5, 2)
    pr.becomeReplicate()
    pr.sentAppend(3, 30, 4)
    expect([pr.next, pr.blocked]).toEqual([8, false])
    pr.sentAppend(2, 20, 4)
    expect([pr.next, pr.blocked]).toEqual([10, true])
    pr.unreachable()
    expect([pr.state, pr.next, pr.blocked, pr.inflights.count]).toEqual(['probe', 5, false, 0])
  })

  test('snapshot sends nothing until its fate is known', () => {
    const pr = make(4, 5)
    pr.becomeSnapshot(20)
    expect([pr.blocked, pr.next]).toEqual([true, 21])
    expect(() => pr.sentAppend(1, 1, 1)).toThrow(/snapshot/)
    pr.snapshotDelivered()
    expect([pr.state, pr.next, pr.blocked]).toEqual(['probe', 21, true])

    const failed = make(4, 5)
    failed.becomeSnapshot(20)
    failed.snapshotFailed()
    expect([failed.state, failed.next, failed.blocked]).toEqual(['probe', 5, true])
  })

  test.each([
    // state, match, next, rejected, hint → stale?, next
    ['replicate', 5, 10, 5, 5, false, 10],
    ['replicate', 5, 10, 4, 4, false, 10],
    ['replicate', 5, 10, 9, 9, true, 6],
    ['probe', 0, 10, 8, 8, false, 10], // not the answer to the probe that is out
    ['probe', 0, 10, 9, 9, true, 9],
    ['probe', 0, 10, 9, 2, true, 3],
    ['probe', 0, 2, 1, 0, true, 1],
    ['probe', 4, 10, 9, 2, true, 5], // never below what is known to match
  ] as const)(
    '%s match=%d next=%d rejected at %d with hint %d',
    (state, match, next, rejected, hint, useful, after) => {
      const pr = make(match, next)
      if (state === 'replicate') {
        pr.becomeReplicate()
        pr.sentAppend(next - match - 1, 1, 0)
      }
      expect(pr.rejected(rejected, hint)).toBe(useful)
      expect(pr.next).toBe(after)
    },
  )

  test('the commit index is told again only when it would help', () => {
    const pr = make(4, 5)
    pr.becomeReplicate()
    pr.sentAppend(3, 1, 4)
    expect(pr.canBumpCommit(4)).toBe(false)
    expect(pr.canBumpCommit(6)).toBe(true)
    pr.sentHeartbeat(7)
    expect(pr.canBumpCommit(9)).toBe(false) // it has nothing beyond 7
  })
})

test('match never falls, and stays below next, whatever happens', () => {
  const index = fc.nat(30)
  const event = fc.oneof(
    fc.record({ kind: fc.constant('ack' as const), index }),
    fc.record({ kind: fc.constant('reject' as const), index, hint: index }),
    fc.record({ kind: fc.constantFrom('probe', 'replicate', 'unreachable', 'delivered', 'failed', 'send') }),
    fc.record({ kind: fc.constant('snapshot' as const), index }),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const pr = make(0, 1, 3)
      let match = 0
      for (const e of events) {
        if (e.kind === 'ack' && 'index' in e) pr.acked(e.index)
        else if (e.kind === 'reject' && 'hint' in e) pr.rejected(e.index, e.hint)
        else if (e.kind === 'snapshot' && 'index' in e) {
          if (e.index > pr.match) pr.becomeSnapshot(e.index)
        } else if (e.kind === 'probe') pr.becomeProbe()
        else if (e.kind === 'replicate') pr.becomeReplicate()
        else if (e.kind === 'unreachable') pr.unreachable()
        else if (e.kind === 'delivered' && pr.state === 'snapshot') pr.snapshotDelivered()
        else if (e.kind === 'failed' && pr.state === 'snapshot') pr.snapshotFailed()
        else if (e.kind === 'send' && !pr.blocked) pr.sentAppend(1, 1, 0)
        expect(pr.match).toBeGreaterThanOrEqual(match)
        expect(pr.next).toBeGreaterThan(pr.match)
        expect(pr.inflights.count).toBeLessThanOrEqual(3)
        match = pr.match
      }
    }),
  )
})
