import { expect, test } from 'vitest'
import { Clock } from './clock.ts'
import type { Member } from './member.ts'
import { coreConfig } from './opening.ts'
import { defaultDriverOptions } from './driver-api.ts'

/** A member whose time, timer and deferred work are moved by hand. */
function byHand() {
  const done: string[] = []
  let now = 0
  let timer = () => {}
  let deferred: (() => void)[] = []
  const member = {
    env: {
      now: () => now,
      every: (_ms: number, f: () => void) => {
        timer = f
        return () => {}
      },
      defer: (f: () => void) => void deferred.push(f),
    },
    options: defaultDriverOptions,
    metrics: { ticksDropped: 0 },
    node: { tick: () => done.push('tick') },
    stopped: false,
    guard: (f: () => void) => f(),
    schedule: () => {},
  }
  new Clock(member as unknown as Member, () => done.push('after'))
  return {
    done,
    member,
    pass: (ms: number) => {
      now += ms
      timer()
    },
    input: () => done.push('input'),
    runDeferred: () => {
      const all = deferred
      deferred = []
      for (const f of all) f()
    },
  }
}

test('a process that stood still ticks twice, not for all the time it missed', () => {
  const c = byHand()
  c.pass(10_000)
  c.runDeferred()
  expect(c.done).toEqual(['tick', 'tick', 'after'])
  expect(c.member.metrics.ticksDropped).toBe(10_000 / defaultDriverOptions.tickMs - 2)
  c.pass(defaultDriverOptions.tickMs)
  c.runDeferred()
  expect(c.done.slice(3)).toEqual(['tick', 'after'])
})

test('what has already arrived is heard before the clock', () => {
  const c = byHand()
  c.pass(defaultDriverOptions.tickMs)
  c.input()
  c.runDeferred()
  expect(c.done).toEqual(['input', 'tick', 'after'])
})

test('times shorter than a tick do not become none at all', () => {
  const { electionTicks, heartbeatTicks } = coreConfig(
    1,
    { ...defaultDriverOptions, tickMs: 50, electionMs: 60, heartbeatMs: 1 },
    1,
  )
  expect(heartbeatTicks).toBe(1)
  expect(electionTicks).toBeGreaterThan(heartbeatTicks)
})
