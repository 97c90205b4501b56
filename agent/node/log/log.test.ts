import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LogCursor, skipKept } from './cursor.ts'
import { LineSplitter } from './lines.ts'
import { milliseconds, nanoseconds, rfc3339 } from './time.ts'

describe('times', () => {
  test('keep their nanoseconds', () => {
    expect(nanoseconds('1970-01-01T00:00:01.000000001Z')).toBe(1_000_000_001n)
    expect(nanoseconds('1970-01-01T00:00:01.5Z')).toBe(1_500_000_000n)
    expect(nanoseconds('1970-01-01T01:00:01+01:00')).toBe(1_000_000_000n)
    expect(rfc3339(1_795_443_446_853_684_380n)).toBe('2026-11-23T14:17:26.853684380Z')
    expect(milliseconds('2026-11-23T14:17:26.853684380Z')).toBe('2026-11-23T14:17:26.853Z')
  })
  test.each(['', 'yesterday', '2026-13-01T00:00:00Z'])('%j is none', (text) => {
    expect(() => nanoseconds(text)).toThrow('not a time')
  })
})

describe('lines', () => {
  const split = (chunks: (string | number[])[], max?: number) => {
    const splitter = new LineSplitter(max)
    const lines = chunks.flatMap((chunk) =>
      splitter.push(typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk)),
    )
    return { lines, rest: splitter.flush() }
  }
  test('are cut at their ends, whatever the chunks', () => {
    expect(split(['a\nb', 'c\r\n', '\n', 'd'])).toEqual({ lines: ['a', 'bc', ''], rest: ['d'] })
  })
  test('a character that comes in two chunks stays one', () => {
    expect(split([[0xc3], [0xa9, 0x0a]]).lines).toEqual(['é'])
  })
  test('bytes that are no UTF-8 are replaced', () => {
    expect(split([[0x61, 0xff, 0x62, 0x0a]]).lines).toEqual(['a\ufffdb'])
  })
  test('a long line comes in pieces, none of which ends inside a character', () => {
    expect(split(['aéaéaé\nx\n'], 3)).toEqual({ lines: ['aé', 'aé', 'aé', 'x'], rest: [] })
    expect(split(['aaéa'], 3)).toEqual({ lines: ['aa'], rest: ['éa'] })
  })
  test('pieces are cut the same way however the line arrives', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.integer({ min: 1, max: 9 }),
        (text, size) => {
          const bytes = Buffer.from(`${text}\n`)
          const chunks: number[][] = []
          for (let at = 0; at < bytes.length; at += size) chunks.push([...bytes.subarray(at, at + size)])
          expect(split(chunks, 8)).toEqual(split([[...bytes]], 8))
        },
      ),
    )
  })
  test('a line of bytes that never make a character still ends', () => {
    expect(split([Array.from({ length: 9 }, () => 0x80)], 4).lines).toEqual([
      '\ufffd'.repeat(4),
      '\ufffd'.repeat(4),
    ])
  })
})

describe('a log resumed', () => {
  /** What an engine answers from a time on, and what is new of it. */
  const resumed = (log: readonly string[], cursor: LogCursor) => {
    const resume = cursor.resume()
    const since = resume?.since
    const told = since ? log.filter((t) => nanoseconds(t) >= nanoseconds(since)) : log
    return told.filter(skipKept(resume))
  }
  const at = (ns: number) => rfc3339(1_000_000_000_000n + BigInt(ns))

  test('from nothing is told whole', () => {
    expect(resumed([at(1), at(2)], LogCursor.fresh())).toEqual([at(1), at(2)])
    expect(LogCursor.fresh().resume()).toBeNull()
  })

  test('goes on among records of one time', () => {
    const log = [at(1), at(5), at(5), at(5), at(9)]
    expect(resumed(log, LogCursor.after(log.slice(0, 3), true))).toEqual([at(5), at(9)])
  })

  test('is exact after any number of records, in any order of times, from memory and from the kept tail', () => {
    // Two streams' records may stand a little out of the order of their times.
    const shuffled = fc.array(fc.integer({ min: 0, max: 8 }), { maxLength: 120 })
    fc.assert(
      fc.property(shuffled, fc.nat(), fc.nat(), (jitter, cutAt, againAt) => {
        const log = jitter.map((j, i) => at(i * 3 + j))
        const kept = log.slice(0, log.length ? cutAt % (log.length + 1) : 0)
        const rest = log.slice(kept.length)
        const live = LogCursor.fresh(16)
        for (const t of kept) live.keep(t)
        expect(resumed(log, live)).toEqual(rest)
        const tail = kept.slice(-32)
        expect(resumed(log, LogCursor.after(tail, tail.length === kept.length, 16))).toEqual(rest)
        // And once more, from a cursor that began with a resume itself.
        const second = LogCursor.resumed(live.resume(), 16)
        const more = rest.slice(0, rest.length ? againAt % (rest.length + 1) : 0)
        for (const t of more) second.keep(t)
        expect(resumed(log, second)).toEqual(rest.slice(more.length))
      }),
      { numRuns: 2000 },
    )
  })

  test('does not read everything again', () => {
    const cursor = LogCursor.fresh(10)
    for (let i = 1; i <= 1000; i++) cursor.keep(at(i))
    const skip = cursor.resume()?.skip ?? 0
    expect(skip).toBeGreaterThanOrEqual(10)
    expect(skip).toBeLessThanOrEqual(21)
  })

  test('tells what is left when the engine has thrown the kept records away', () => {
    const cursor = LogCursor.after([at(1), at(2), at(3)], true)
    expect([at(7), at(8)].filter(skipKept(cursor.resume()))).toEqual([at(7), at(8)])
  })
})
