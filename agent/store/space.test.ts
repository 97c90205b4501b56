import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { needs } from '../../test/setup/needs.ts'
import { DiskSpace } from './space.ts'
import { smallDisk } from './testing/small-disk.ts'

const [mebi, gibi] = [1024 ** 2, 1024 ** 3]
let folder: string
let space: DiskSpace | undefined
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'space-'))
})
afterEach(async () => {
  space?.close()
  vi.useRealTimers()
  await rm(folder, { recursive: true })
})

/** A disk that the test fills. */
function disk(free: number, total = 100 * gibi) {
  const state = { free }
  return { state, measure: () => ({ free: state.free, total }) }
}
const reserved = () => stat(path.join(folder, 'reserve')).then((found) => found.size, () => 0) // prettier-ignore

test.each([
  [4 * gibi, 1 * gibi],
  [100 * gibi, 5 * gibi],
  [1000 * gibi, 10 * gibi],
])('the floor of a disk of %d bytes is %d', async (total, floor) => {
  space = await DiskSpace.open(folder, { ...disk(total, total), reserve: 0 })
  expect(space.floor).toBe(floor)
})

test('below the floor it throws with the figures; running work may go a part further', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] })
  const { state, measure } = disk(10 * gibi)
  space = await DiskSpace.open(folder, { measure, floor: 4 * gibi, reserve: 0 })
  space.check()
  state.free = 2 * gibi
  vi.advanceTimersByTime(251)
  expect(() => space!.check()).toThrow('2.0 GiB are free, 4.0 GiB must stay free')
  space.check(0.25)
  expect(space.low()).toBe(true)
})

test('check measures when its figure is older than 250 ms, low each second', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] })
  const { state, measure } = disk(10 * gibi)
  space = await DiskSpace.open(folder, { measure, floor: gibi, reserve: 0 })
  state.free = 0
  vi.advanceTimersByTime(200)
  space.check()
  expect(space.low()).toBe(false)
  vi.advanceTimersByTime(800)
  expect(space.low()).toBe(true)
  expect(() => space!.check()).toThrow('MiB are free')
})

describe('the reserve', () => {
  test('really takes its room, survives a restart, and is given back', async () => {
    space = await DiskSpace.open(folder, { floor: 0, reserve: 3 * mebi + 5 })
    expect(await reserved()).toBe(3 * mebi + 5)
    expect((await stat(path.join(folder, 'reserve'))).blocks * 512).toBeGreaterThanOrEqual(3 * mebi)
    space.close()
    const before = (await stat(path.join(folder, 'reserve'))).mtimeMs
    space = await DiskSpace.open(folder, { floor: 0, reserve: 3 * mebi + 5 })
    expect((await stat(path.join(folder, 'reserve'))).mtimeMs).toBe(before)
    await space.releaseReserve()
    expect(await reserved()).toBe(0)
  })

  test('is not taken from a disk that is low already', async () => {
    space = await DiskSpace.open(folder, { ...disk(gibi), floor: gibi })
    expect(await reserved()).toBe(0)
  })
})

describe('a real small disk', needs.namespaces, () => {
  test('is measured', async () => {
    const small = await smallDisk(1024)
    try {
      const measured = await DiskSpace.open(small.folder, { floor: 600 * 1024, reserve: 300 * 1024 })
      measured.check()
      expect(measured.free()).toBeLessThanOrEqual(724 * 1024)
      await measured.releaseReserve()
      expect(measured.free()).toBeGreaterThan(724 * 1024)
      measured.close()
    } finally {
      await small.remove()
    }
  })
})
