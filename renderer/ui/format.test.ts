import { describe, expect, test } from 'vitest'
import { ago, bytes, cores, count, duration, figure, percent, share, unknown, utc } from './format.ts'
import { sparkPath } from './spark-path.ts'
import { type Column, nextSort, sorted } from './table.ts'

const start = '2026-01-31T12:00:00.000Z'
const at = (seconds: number) => Date.parse(start) + seconds * 1000

describe('figures', () => {
  test('what is not known is a dash, never zero', () => {
    for (const text of [bytes(null), percent(undefined), cores(null), figure(null), duration(null, null, 0)])
      expect(text).toBe(unknown)
    expect([bytes(0), percent(0), figure(0)]).toEqual(['0 B', '0%', '0'])
    expect([share(1, 0), share(null, 4), share(6, 4)]).toEqual([null, null, 1])
  })

  test('durations run on until they end, and a clock behind shows no negative one', () => {
    expect(duration(start, null, at(75))).toBe('1m 15s')
    expect(duration(start, new Date(at(3900)).toISOString(), at(99_999))).toBe('1h 5m')
    expect(duration(start, null, at(-3))).toBe('0s')
  })

  test('ages in their largest unit', () => {
    expect([2, 42, 130, 7300, 200_000].map((seconds) => ago(start, at(seconds)))).toEqual([
      'just now',
      '42s ago',
      '2m ago',
      '2h ago',
      '2d ago',
    ])
    expect(utc(start)).toBe('2026-01-31 12:00:00 UTC')
  })

  test('metrics with four digits, very small and very large ones with a power', () => {
    expect([0.123456, 1234.567, 0.00001234, 12_345_678, -2, 'NaN'].map(figure)).toEqual([
      '0.1235',
      '1235',
      '1.23e-5',
      '1.23e+7',
      '-2',
      'NaN',
    ])
    expect([cores(0.5), cores(12.34), count(1, 'task'), count(3, 'task')]).toEqual([
      '0.5',
      '12.3',
      '1 task',
      '3 tasks',
    ])
  })

  test('a sparkline ends at its right edge and needs two values', () => {
    expect(sparkPath([5], 10, 100)).toBeUndefined()
    expect(sparkPath([0, 100, 250], 10, 100)).toEqual({
      line: 'M 8 98.0 L 9 2.0 L 10 2.0',
      left: 8,
      right: 10,
    })
  })
})

describe('sorting a table', () => {
  const columns = [{ key: 'n', title: 'N', by: (row: number | null) => row }] as unknown as Column<
    number | null
  >[]

  test('unknown values stand last both ways', () => {
    expect(sorted([2, null, 1], columns, { key: 'n', descending: false })).toEqual([1, 2, null])
    expect(sorted([2, null, 1], columns, { key: 'n', descending: true })).toEqual([2, 1, null])
  })

  test('a header goes up, down, off', () => {
    const up = nextSort(undefined, 'n')
    const down = nextSort(up, 'n')
    expect([up, down, nextSort(down, 'n')]).toEqual([
      { key: 'n', descending: false },
      { key: 'n', descending: true },
      undefined,
    ])
  })
})
