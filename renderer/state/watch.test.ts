import { describe, expect, test } from 'vitest'
import type { ServerEvent } from '../../contract/client.ts'
import type { WatchEvent } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { experiment } from '../testing/objects.ts'
import { type Connection, watchCluster } from './watch.ts'

const told = (id: string): ServerEvent<WatchEvent> => ({
  id,
  data: { kind: 'experiment', type: 'MODIFIED', object: experiment() },
})
const bookmark = (version: number): ServerEvent<WatchEvent> => ({
  id: undefined,
  data: { kind: 'bookmark', type: 'BOOKMARK', object: { resource_version: version, leader: null } },
})

/** Runs the loop over scripted streams; ends when the script does. */
async function run(streams: (ServerEvent<WatchEvent> | Error)[][], lists: (number | Error)[] = [10]) {
  const stop = new AbortController()
  const seen = {
    opened: [] as number[],
    listed: 0,
    changes: 0,
    connection: [] as Connection[],
    waits: [] as number[],
  }
  await watchCluster(
    {
      list: async () => {
        const answer = lists[Math.min(seen.listed++, lists.length - 1)] ?? 10
        if (answer instanceof Error) throw answer
        return answer
      },
      open: async function* (after) {
        seen.opened.push(after)
        const stream = streams.shift() ?? []
        if (!streams.length) stop.abort()
        for (const item of stream) {
          if (item instanceof Error) throw item
          yield item
        }
      },
      change: () => seen.changes++,
      connection: (now) => {
        if (seen.connection.at(-1) !== now) seen.connection.push(now)
      },
      sleep: async (ms) => void seen.waits.push(ms),
    },
    stop.signal,
  )
  return seen
}

describe('the watch stream', () => {
  test('resumes after the last version seen, without listing again', async () => {
    const seen = await run([[told('11'), told('12')], [told('13'), bookmark(20)], []])
    expect(seen.opened).toEqual([10, 12, 20])
    expect(seen.listed).toBe(1)
    expect(seen.changes).toBe(4)
  })

  test('lists again when its version is no longer kept', async () => {
    const seen = await run([[told('11'), new ProblemError('watch_expired')], []], [10, 500])
    expect(seen.opened).toEqual([10, 500])
    expect(seen.listed).toBe(2)
    expect(seen.connection).toEqual(['live'])
  })

  test('says that it is lost, waits longer and longer, and is live again', async () => {
    const down = () => [new ProblemError('no_leader')]
    const seen = await run([[told('11')], down(), down(), down(), [told('12')], []])
    expect(seen.connection).toEqual(['live', 'lost', 'live', 'lost', 'live', 'lost', 'live'])
    expect(seen.opened).toEqual([10, 11, 11, 11, 11, 12])
    expect(seen.waits.slice(0, 5)).toEqual([400, 800, 1600, 3200, 400])
  })

  test('ends when the session does', async () => {
    const seen = await run([[new ProblemError('unauthenticated')], [told('11')]])
    expect(seen.opened).toEqual([10])
  })

  test('goes on trying while even the list fails', async () => {
    const seen = await run([[]], [new ProblemError('no_leader'), new ProblemError('no_leader'), 30])
    expect(seen.opened).toEqual([30])
    expect(seen.connection).toEqual(['lost', 'live'])
  })
})
