import { describe, expect, test } from 'vitest'
import { align, type Curve, thin, valueAt } from './chart-data.ts'

const wave: Curve['points'] = Array.from({ length: 10_000 }, (_, x) => [
  x,
  x === 5432 ? 99 : Math.sin(x / 50),
])

describe('thinning', () => {
  test('keeps first, last and every peak, in order, within the limit', () => {
    const thinned = thin(wave, 500)
    expect(thinned.length).toBeLessThanOrEqual(500)
    expect(thinned.length).toBeGreaterThan(250)
    expect(thinned[0]).toEqual(wave[0])
    expect(thinned.at(-1)).toEqual(wave.at(-1))
    expect(thinned).toContainEqual([5432, 99])
    expect(thinned.map(([x]) => x)).toEqual(thinned.map(([x]) => x).toSorted((a, b) => a - b))
  })

  test('leaves short curves alone', () => {
    expect(thin(wave.slice(0, 20), 20)).toEqual(wave.slice(0, 20))
  })

  test('survives values that are not drawable', () => {
    const holes: Curve['points'] = wave.map(([x], at) => [x, at % 3 ? null : at])
    expect(thin(holes, 100).length).toBeLessThanOrEqual(100)
  })
})

test('curves with different steps share one axis; missing steps draw no gap, NaN does', () => {
  const curves: Curve[] = [
    { label: 'a', points: [[1, 10], [2, null], [4, 40]] },
    { label: 'b', points: [[2, 20]] },
  ] // prettier-ignore
  expect(align(curves)).toEqual([
    [1, 2, 4],
    [10, null, 40],
    [undefined, 20, undefined],
  ])
  expect(valueAt(curves[0]!, 3)).toBeNull()
  expect(valueAt(curves[0]!, undefined)).toBe(40)
})
