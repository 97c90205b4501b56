import { expect, test } from 'vitest'
import { median, Meter } from './load/meter.ts'
import { row, table } from './report.ts'

test('a ratio above 1 means that ours is better, in either unit', () => {
  expect(row('writes', 'writes/s', [300, 100, 200], [100])).toEqual({
    name: 'writes', unit: 'writes/s', ours: 200, peer: 100, ratio: 2, n: 3,
  }) // prettier-ignore
  expect(row('time', 'ms', [2], [3], true).ratio).toBe(1.5)
  expect(row('alone', 's', [1.23456], [])).toMatchObject({ ours: 1.235, peer: null, ratio: null })
})

test('the table has a line for each row, and a dash for what was not measured', () => {
  const lines = table([row('a', 'ms', [1], [2], true), row('b', 's', [3], [])]).split('\n')
  expect(lines).toHaveLength(3)
  expect(lines[1]).toMatch(/^a +ms +1 +2 +2\.00 +1$/)
  expect(lines[2]).toMatch(/^b +s +3 +– +– +1$/)
})

test('the median of an even count lies between', () => {
  expect([median([5, 1, 3]), median([4, 1, 2, 3])]).toEqual([3, 2.5])
})

test('a meter counts what came back between begin and end, and errors at any time', () => {
  const m = new Meter()
  m.add(1)
  m.begin()
  for (const ms of [5, 1, 9]) m.add(ms)
  m.add(0, 'busy')
  m.end()
  m.add(7)
  expect(m.result()).toMatchObject({ count: 3, errors: 1, firstError: 'busy', p50: 5, max: 9 })
})
