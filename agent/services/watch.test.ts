import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { WatchEvent } from '../../contract/index.ts'
import { admin, World } from './testing/world.ts'
import { Watch, type WatchItem } from './watch.ts'

let world: World
let watch: Watch
beforeEach(async () => {
  world = await World.create(1)
  watch = new Watch({ cluster: world.cluster }, { kept: 100, waiting: 50 })
})
afterEach(async () => {
  watch.close()
  await world.close()
})

function reader(kinds = 'experiment', after?: number) {
  const control = new AbortController()
  const items = watch.open(admin, { kinds, after }, control.signal)[Symbol.asyncIterator]()
  const next = async (): Promise<WatchItem | undefined> => {
    const result = await items.next()
    return result.done ? undefined : result.value
  }
  return { next, control }
}
const stop = (id: string) => world.log.propose({ type: 'experiment.stop', id }, admin)
const shown = (item: WatchItem | undefined): [string, string] | undefined => {
  const data: WatchEvent | undefined = item?.data
  return data?.kind === 'experiment' ? [data.type, data.object.state] : undefined
}

describe('what waits for a slow reader', () => {
  it('is the newest of each object', async () => {
    const { next } = reader()
    await next() // the bookmark
    world.submit('exp-1')
    world.run('exp-1')
    world.submit('exp-2')
    stop('exp-2')
    const first = await next()
    expect(shown(first)).toEqual(['ADDED', 'Running'])
    const second = await next()
    expect(shown(second)).toEqual(['ADDED', 'Stopped'])
    expect(Number(second?.id)).toBe(world.log.index)
    expect(Number(first?.id)).toBeLessThan(Number(second?.id))
  })

  it('is bounded: past that the stream ends, and can be resumed where it ended', async () => {
    const start = world.log.index
    const { next } = reader()
    await next()
    for (let at = 0; at < 52; at++) world.submit(`exp-${at}`)
    expect(await next()).toBeUndefined()
    const again = reader('experiment', start)
    for (let at = 0; at < 52; at++) expect(shown(await again.next())).toEqual(['ADDED', 'Accepted'])
  })
})

describe('what is kept to resume after', () => {
  it('is bounded by whole versions; before it the watch has expired', async () => {
    const versions: number[] = []
    for (let at = 0; at < 300; at++) {
      world.submit(`exp-${at}`)
      versions.push(world.log.index)
    }
    const resumable = versions.filter((after) => {
      try {
        reader('experiment,event', after).control.abort()
        return true
      } catch (error) {
        expect(error).toMatchObject({ code: 'watch_expired' })
        return false
      }
    })
    // Each submit is two changes of one version, and the ring holds about a hundred.
    expect(resumable.length).toBeGreaterThanOrEqual(50)
    expect(resumable.length).toBeLessThanOrEqual(60)
    expect(resumable).toEqual(versions.slice(-resumable.length))
    const { next } = reader('experiment,event', resumable[0])
    for (let at = 1; at < resumable.length; at++) {
      expect((await next())?.data.kind).toBe('experiment')
      expect((await next())?.data.kind).toBe('event')
    }
  })

  it('is not told twice to a client that knows more than this agent', async () => {
    const { next } = reader('experiment', world.log.index + 1)
    await next()
    world.submit('exp-known')
    world.submit('exp-new')
    const told = await next()
    expect(told?.data).toMatchObject({ object: { id: 'exp-new' } })
  })
})

describe('a reader that left', () => {
  it('ends, also before it read anything', async () => {
    const { next, control } = reader()
    control.abort()
    expect(await next()).toBeUndefined()
    const waiting = reader()
    await waiting.next()
    const pending = waiting.next()
    waiting.control.abort()
    expect(await pending).toBeUndefined()
  })

  it('ends when the agent stops', async () => {
    const { next } = reader()
    await next()
    const pending = next()
    watch.close()
    expect(await pending).toBeUndefined()
  })
})
