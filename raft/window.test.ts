import { expect, test } from 'vitest'
import { Rng } from './testing/rng.ts'
import { Window } from './window.ts'

test('numbers go up from the first, and the smallest that is left is known', () => {
  const w = new Window<string>(7)
  expect([w.first, w.next, w.size]).toEqual([7, 7, 0])
  expect(['a', 'b', 'c'].map((s) => w.add(s))).toEqual([7, 8, 9])
  expect(w.take(8)).toBe('b')
  expect(w.take(8)).toBeUndefined()
  expect([w.first, w.size]).toEqual([7, 2])
  expect(w.take(7)).toBe('a')
  expect([w.first, w.next, w.size, w.get(9)]).toEqual([9, 10, 1, 'c'])
})

test('like a Map, whatever is taken out', () => {
  const rng = new Rng(1)
  const w = new Window<number>(1)
  const map = new Map<number, number>()
  for (let i = 0; i < 20_000; i++) {
    if (rng.int(2) === 0) map.set(w.add(i), i)
    else {
      const n = rng.int(10) === 0 ? rng.int(w.next + 2) : w.first
      expect(w.take(n)).toBe(map.get(n))
      map.delete(n)
    }
    expect(w.size).toBe(map.size)
    if (map.size > 0 && i % 100 === 0) expect(w.first).toBe(Math.min(...map.keys()))
  }
  const left: number[] = []
  w.each((value) => left.push(value))
  expect(left).toEqual([...map.values()])
})
