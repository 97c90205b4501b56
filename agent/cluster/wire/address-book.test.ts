import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { AddressBook, setPeer } from './address-book.ts'
import { cleanUp, later, Lines, scratchFolder } from './testing/agent.ts'

afterEach(cleanUp)

async function book(data?: string, state = new Map([[2, '10.0.0.2:7460']])) {
  const lines = new Lines()
  const folder = data ?? (await scratchFolder())
  const opened = await AddressBook.open({ data: folder, state: () => state, log: lines.log })
  later(() => opened.saved())
  return { folder, lines, book: opened }
}

test('an override comes first, then what was learned, then the state; each address once', async () => {
  const { book: it, folder } = await book()
  expect(await it.of(2)).toEqual(['10.0.0.2:7460'])
  it.learn(2, '10.0.0.5:7460', '10.0.0.6')
  expect(await it.of(2)).toEqual(['10.0.0.5:7460', '10.0.0.6:7460', '10.0.0.2:7460'])
  await setPeer(folder, 2, '10.0.0.6:7460')
  expect(await it.of(2)).toEqual(['10.0.0.6:7460', '10.0.0.5:7460', '10.0.0.2:7460'])
  await setPeer(folder, 2, undefined)
  expect(await it.of(2)).toEqual(['10.0.0.5:7460', '10.0.0.6:7460', '10.0.0.2:7460'])
  expect(await it.of(9)).toEqual([])
})

test('what was learned is there after a restart, and what a joiner was told', async () => {
  const { book: it, folder } = await book()
  it.learn(3, '[2001:db8::3]:7460', '2001:db8::4')
  it.learn(4, 'host-4:7460', '::ffff:10.0.0.4')
  await it.saved()
  const again = (await book(folder)).book
  expect(await again.of(3)).toEqual(['[2001:db8::3]:7460', '[2001:db8::4]:7460'])
  expect(await again.of(4)).toEqual(['host-4:7460', '10.0.0.4:7460'])

  const fresh = await scratchFolder()
  await AddressBook.seed(fresh, [{ member: 1, address: '10.0.0.1:7460' }])
  expect(await (await book(fresh)).book.of(1)).toEqual(['10.0.0.1:7460'])
})

test('listeners hear of a new address, not of the same one nor of a host that has two', async () => {
  const { book: it } = await book()
  const heard: number[] = []
  const stop = it.onLearned((member) => heard.push(member))
  it.learn(2, '10.0.0.5:7460', '10.0.0.5')
  it.learn(2, '10.0.0.5:7460', '10.0.1.5')
  it.learn(2, '10.0.0.5:7460', '10.0.0.5')
  it.learn(2, '10.0.0.5:7460', '10.0.1.5')
  expect(heard).toEqual([2, 2])
  it.learn(2, '10.0.0.9:7460')
  expect(heard).toEqual([2, 2, 2])
  expect((await it.of(2))[0]).toBe('10.0.0.9:7460')
  stop()
  it.learn(2, '10.0.0.10:7460')
  expect(heard).toHaveLength(3)
})

test('no more addresses are kept than are worth trying', async () => {
  const { book: it } = await book()
  for (let i = 1; i < 20; i++) it.learn(2, `10.0.0.${i}:7460`, `10.0.1.${i}`)
  expect(await it.of(2)).toEqual([
    '10.0.0.19:7460',
    '10.0.1.19:7460',
    '10.0.0.18:7460',
    '10.0.1.18:7460',
    '10.0.0.2:7460',
  ])
})

test.each(['', 'nonsense', '10.0.0.1', '10.0.0.1:0', '10.0.0.1:99999', 'a b:1', '::1:7460', '[nope]:1'])(
  'the address %j is neither set nor learned',
  async (address) => {
    const { book: it, folder } = await book()
    await expect(setPeer(folder, 2, address)).rejects.toMatchObject({ code: 'invalid_request' })
    it.learn(2, address, '10.0.0.9')
    expect(await it.of(2)).toEqual(['10.0.0.2:7460'])
  },
)

test('set-peer refuses what is no member', async () => {
  const { folder } = await book()
  for (const member of [0, -1, 1.5, NaN])
    await expect(setPeer(folder, member, 'a:1')).rejects.toMatchObject({ code: 'invalid_request' })
})

test('a damaged file is reported once and what it said before still counts', async () => {
  const { book: it, folder, lines } = await book()
  await setPeer(folder, 2, '10.0.0.7:7460')
  await it.of(2)
  await writeFile(join(folder, 'peers.json'), '{"2": 5}')
  expect((await it.of(2))[0]).toBe('10.0.0.7:7460')
  expect((await it.of(2))[0]).toBe('10.0.0.7:7460')
  expect(lines.all.filter((line) => line.includes('peers.json is unreadable'))).toHaveLength(1)
  await expect(setPeer(folder, 3, 'a:1')).rejects.toThrow(/peers\.json/)
  expect(await readFile(join(folder, 'peers.json'), 'utf8')).toBe('{"2": 5}')
})

test('damaged learned addresses are forgotten, not fatal', async () => {
  const folder = await scratchFolder()
  await writeFile(join(folder, 'peers-learned.json'), 'x')
  const { book: it, lines } = await book(folder)
  expect(await it.of(2)).toEqual(['10.0.0.2:7460'])
  await lines.with('learned addresses are unreadable')
})

test('what another member says it learned is tried last, is news once, and is not passed on', async () => {
  const { book: it } = await book()
  const heard: number[] = []
  it.onLearned((member) => heard.push(member))
  it.learn(2, '10.0.0.5:7460')
  for (let second = 0; second < 3; second++)
    for (const address of ['10.0.0.8:7460', '10.0.0.9:7460', '10.0.0.5:7460', '10.0.0.2:7460', 'nonsense'])
      it.hint(2, address)
  expect(await it.of(2)).toEqual(['10.0.0.5:7460', '10.0.0.2:7460', '10.0.0.9:7460', '10.0.0.8:7460'])
  expect(heard).toEqual([2, 2, 2])
  expect(it.learned()).toEqual(new Map([[2, '10.0.0.5:7460']]))
})
