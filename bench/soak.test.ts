import { expect, test } from 'vitest'
import type { MemberStats } from './raft/member.ts'
import { judge, type Sample } from './soak.ts'

/** An hour of samples whose figures the test chooses. */
function hour(
  figures: (minute: number) => { term?: number; rssMiB?: number; logEntries?: number; perSecond?: number },
) {
  return Array.from({ length: 60 }, (_, i): Sample => {
    const { term = 2, rssMiB = 200 + (i % 3) * 10, logEntries = 15_000, perSecond = 2000 } = figures(i + 1)
    const member = {
      id: 1,
      term,
      rss: rssMiB * 1024 ** 2,
      logEntries,
      logBytes: 1,
      metrics: { snapshotsTaken: i },
    }
    const load = { count: 1, errors: 0, seconds: 60, perSecond, p50: 1, p99: 1, max: 1, underWay: 1 }
    return { minute: i + 1, load, members: [member as unknown as MemberStats], machineLoad: 1 }
  })
}

test('steady memory, a short log and one leader are what is asked for', () => {
  expect(
    judge(
      hour(() => ({})),
      2,
      2000,
    ),
  ).toMatchObject({ ok: true, elections: 0, snapshots: 59, why: [] })
})

test('growth at the start is warm-up, growth all the time is a leak', () => {
  expect(
    judge(
      hour((m) => ({ rssMiB: Math.min(300, 100 + m * 20) })),
      2,
      2000,
    ).ok,
  ).toBe(true)
  const leak = judge(
    hour((m) => ({ rssMiB: 200 + m })),
    2,
    2000,
  )
  expect(leak.why).toEqual(['memory grows by 60 MiB an hour'])
})

test('an election, a long log and too few writes are each named', () => {
  expect(
    judge(
      hour((m) => ({ term: m > 30 ? 3 : 2 })),
      2,
      2000,
    ).why,
  ).toEqual(['1 elections'])
  expect(
    judge(
      hour((m) => ({ logEntries: m * 1000 })),
      2,
      2000,
    ).why,
  ).toEqual(['the log grew to 60000 entries'])
  expect(
    judge(
      hour(() => ({ perSecond: 1500 })),
      2,
      2000,
    ).why,
  ).toEqual(['only 1500 writes/s were done'])
})
