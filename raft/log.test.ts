import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RaftLog } from './log.ts'
import { MemoryStore } from './memory-store.ts'
import { entry } from './testing/one.ts'
import { EMPTY_CONF, type Entry, type Term } from './types.ts'

/** Entries of these terms from index 2 on, as many stored as said, the rest unstable. */
function make(terms: readonly Term[], stored = terms.length): RaftLog {
  const store = new MemoryStore({ ...EMPTY_CONF, voters: [1] })
  const all = terms.map((term, i) => entry(i + 2, term))
  store.appendNow(all.slice(0, stored), undefined, true)
  const log = new RaftLog(store, 1 << 20)
  log.append(all.slice(stored))
  return log
}
const terms = (log: RaftLog) => log.slice(2, log.lastIndex + 1, Infinity).map((e) => e.term)

test.each([
  // candidate’s index and term against a log that ends with 3/4 → may have our vote
  [5, 3, true],
  [4, 3, true],
  [3, 3, false],
  [2, 4, true], // term first, then length
  [9, 2, false],
])('a candidate with last entry %d of term %d', (index, term, upToDate) => {
  expect(make([2, 3, 3]).isUpToDate(index, term)).toBe(upToDate)
})

describe('a follower’s append', () => {
  test.each([
    ['nothing new', 4, 3, [], 4, [2, 3, 3]],
    ['at the end', 4, 3, [entry(5, 3)], 5, [2, 3, 3, 3]],
    ['known entries again', 2, 2, [entry(3, 3)], 3, [2, 3, 3]], // what follows stays: it may be committed
    ['conflict at once', 2, 2, [entry(3, 4)], 3, [2, 4]],
    ['conflict later', 2, 2, [entry(3, 3), entry(4, 5), entry(5, 5)], 5, [2, 3, 5, 5]],
    ['no match', 4, 2, [entry(5, 5)], undefined, [2, 3, 3]],
    ['beyond the end', 7, 3, [], undefined, [2, 3, 3]],
  ])('%s', (_, prevIndex, prevTerm, entries: Entry[], last, after) => {
    for (const stored of [0, 1, 3]) {
      const log = make([2, 3, 3], stored)
      expect(log.maybeAppend(prevIndex, prevTerm, entries, 0)).toBe(last)
      expect(terms(log)).toEqual(after)
    }
  })

  test('commits no more than it is known to match', () => {
    const log = make([2, 3, 3])
    log.maybeAppend(2, 2, [], 4)
    expect(log.committed).toBe(2)
    log.maybeAppend(2, 2, [entry(3, 3)], 9)
    expect(log.committed).toBe(3)
  })

  test('replacing a committed entry is never silent', () => {
    const log = make([2, 3, 3])
    log.commitTo(3)
    expect(() => log.maybeAppend(2, 2, [entry(3, 4)], 0)).toThrow(/committed/)
    expect(() => log.commitTo(9)).toThrow(/truncated or lost/)
  })
})

describe('writing', () => {
  test('hands every entry out once, and again only if it was replaced', () => {
    const log = make([], 0)
    log.append([entry(2, 1), entry(3, 1)])
    expect(log.nextUnstable().entries.map((e) => e.index)).toEqual([2, 3])
    log.acceptUnstable()
    log.append([entry(4, 1)])
    expect(log.nextUnstable().entries.map((e) => e.index)).toEqual([4])
    log.append([entry(3, 2)])
    expect(log.nextUnstable().entries.map((e) => `${e.term}/${e.index}`)).toEqual(['2/3'])
  })

  test('a write that is overtaken by a replacement makes nothing stable', () => {
    const log = make([], 0)
    log.append([entry(2, 1), entry(3, 1)])
    log.acceptUnstable()
    log.append([entry(3, 2)]) // while 1/3 is being written
    log.commitTo(3)
    log.stableTo(3, 1)
    expect(log.nextCommitted()).toEqual([]) // 2/3 is not on disk
  })

  test('a write that ends after the entry was replaced and came back makes just that entry stable', () => {
    const log = make([], 0)
    log.append([entry(2, 1), entry(3, 1)])
    log.acceptUnstable() // 1/2 and 1/3 are being written
    log.append([entry(3, 2), entry(4, 2)])
    log.append([entry(3, 1), entry(4, 3)])
    log.stableTo(3, 1)
    expect(log.nextUnstable().entries.map((e) => `${e.term}/${e.index}`)).toEqual(['3/4'])
  })

  test('applies only what is durable here, and within the byte budget', () => {
    const store = new MemoryStore({ ...EMPTY_CONF, voters: [1] })
    const log = new RaftLog(store, 100)
    const entries = [2, 3, 4].map((i) => entry(i, 1, 'x'.repeat(40)))
    log.append(entries)
    log.commitTo(4)
    expect(log.hasNextCommitted).toBe(false)
    store.appendNow(entries, undefined, true)
    log.stableTo(4, 1)
    expect(log.nextCommitted().map((e) => e.index)).toEqual([2])
    log.acceptApplying(log.nextCommitted())
    expect(log.hasNextCommitted).toBe(false) // 56 bytes are out, the next entry would make it 112
    log.appliedTo(2)
    expect(log.nextCommitted().map((e) => e.index)).toEqual([3])
  })
})

test('a conflict hint skips whole terms', () => {
  // Both examples of etcd’s stepLeader, moved by the founders' entry.
  const leader = make([3, 3, 3, 5, 5, 5, 5, 5])
  expect(leader.findConflict(6, 2)).toEqual({ index: 1, term: 1 })
  const follower = make([3, 3, 4, 4, 5, 5, 5, 6])
  expect(follower.findConflict(8, 3)).toEqual({ index: 3, term: 3 })
})

test('two logs that agree at an index and a term are joined there by any append', () => {
  const logTerms = fc.array(fc.nat(2), { maxLength: 12 }).map((steps) => {
    let t = 1
    return steps.map((s) => (t += s))
  })
  fc.assert(
    fc.property(logTerms, logTerms, fc.nat(12), fc.nat(12), (mine, theirs, from, count) => {
      // Logs of one cluster: equal (index, term) means equal prefixes. Made so by a common beginning.
      const common = mine.findIndex((t, i) => t !== theirs[i])
      const shared = common < 0 ? Math.min(mine.length, theirs.length) : common
      const apart = theirs.map((t, i) => (i < shared ? t : t + 100))
      const log = make(mine, Math.floor(mine.length / 2))
      const leader = make(apart)
      const prev = 1 + Math.min(from, apart.length)
      const sent = leader.entries(prev + 1, Infinity)?.slice(0, count) ?? []
      const last = log.maybeAppend(prev, leader.term(prev) as Term, sent, 0)
      if (prev - 1 > shared) expect(last).toBeUndefined()
      else {
        expect(last).toBe(prev + sent.length)
        for (let i = 1; i <= (last as number); i++) expect(log.term(i)).toBe(leader.term(i))
      }
    }),
  )
})
