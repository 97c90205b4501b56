import { expect, it } from 'vitest'
import { Freshness } from './freshness.ts'

it('a copy is as new as the asking for the last read that a leader confirmed', async () => {
  let now = 100
  const freshness = new Freshness(() => now)
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
