import { expect, it } from 'vitest'
import { Silence } from './silence.ts'

const active = { recentActive: true }
const silent = { recentActive: false }

it('silence is added up over looks, ends with a word, and begins anew with each leadership', () => {
  let now = 0
  const silence = new Silence(() => now, { lostMs: 2000, lookEveryMs: 500 })
  const look = (two: typeof active, times = 1) => {
    for (let n = 0; n < times; n++) {
      now += 500
      silence.look(new Map([[2, two], [3, active]])) // prettier-ignore
    }
  }
  look(silent, 4)
  expect(silence.isLost(2)).toBe(false)
  look(silent)
  expect([2, 3].map((member) => silence.isLost(member))).toEqual([true, false])
  look(active)
  look(silent, 3)
  expect(silence.isLost(2)).toBe(false)
  look(silent)
  expect(silence.isLost(2)).toBe(true)
  silence.forget()
  look(silent)
  expect(silence.isLost(2)).toBe(false)
})

it('a leader that stood still blames nobody', () => {
  let now = 0
  const silence = new Silence(() => now, { lostMs: 10_000, lookEveryMs: 500 })
  silence.look(new Map([[2, active]]))
  now += 3_600_000
  silence.look(new Map([[2, silent]]))
  expect(silence.isLost(2)).toBe(false)
})
