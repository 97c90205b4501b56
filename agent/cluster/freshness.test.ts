import { expect, it } from 'vitest'
import { Freshness } from './freshness.ts'

it('a copy is as new as the asking for the last read that a leader confirmed', async () => {
  let now = 100
  const freshness = new Freshness(
    () => now,
    () => 0,
  )
  expect(freshness.age()).toBeNull()
  await expect(freshness.confirm(() => Promise.reject(new Error('no leader')))).rejects.toThrow('no leader')
  expect(freshness.age()).toBeNull()
  let answer = () => {}
  const slow = freshness.confirm(() => new Promise<void>((resolve) => (answer = resolve)))
  now = 150
  await freshness.confirm(() => Promise.resolve())
  now = 170
  expect(freshness.age()).toBe(20)
  // Asked earlier, answered later: it says less than is known.
  answer()
  await slow
  expect(freshness.age()).toBe(20)
})

it('what a leader tells counts once this copy has it, as of when that leader was confirmed', () => {
  let [now, applied] = [1_000, 7]
  const freshness = new Freshness(
    () => now,
    () => applied,
  )
  freshness.told(40, 7)
  expect(freshness.age()).toBe(40)
  freshness.told(10, 8)
  expect(freshness.age()).toBe(40)
  now += 100
  applied = 8
  expect(freshness.age()).toBe(110)
})
