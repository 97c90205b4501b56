import { expect, test } from 'vitest'
import { MAX_SESSIONS, Sessions, encodeCommand, splitRows, withRows, type SessionRow } from './sessions.ts'
import type { Entry } from './types.ts'

let ran: string[] = []
const run = (data: Uint8Array) => {
  ran.push(Buffer.from(data).toString())
  return Buffer.from(`done ${ran.length}`)
}
const at = (index: number, data: Uint8Array): Entry => ({ index, term: 1, kind: 'normal', data })
const register = (index: number) => at(index, encodeCommand({ kind: 'register', nonce: `n${index}` }))
const command = (index: number, client: number, seq: number, low = 1, text = `c${seq}`) =>
  at(index, encodeCommand({ kind: 'command', client, seq, low, data: Buffer.from(text) }))

test('a repeated command gets the first answer and does not run again', () => {
  ran = []
  const s = new Sessions()
  expect(s.apply(register(5), run)).toEqual({ kind: 'registered', nonce: 'n5', client: 5 })
  const first = s.apply(command(6, 5, 1), run)
  s.apply(command(7, 5, 2), run)
  expect(s.apply(command(8, 5, 1), run)).toEqual(first)
  expect(ran).toEqual(['c1', 'c2'])
})

test('what the client waits for no more is forgotten, and never run late', () => {
  ran = []
  const s = new Sessions()
  s.apply(register(1), run)
  s.apply(command(2, 1, 1), run)
  s.apply(command(3, 1, 4, 4), run)
  expect(s.apply(command(4, 1, 1), run)).toEqual({ kind: 'stale' })
  expect(s.apply(command(5, 1, 3), run)).toEqual({ kind: 'stale' })
  expect(s.answer(1, 1)).toBeUndefined()
  expect(ran).toEqual(['c1', 'c4'])
})

test('a client that was forgotten is told so instead of running twice', () => {
  ran = []
  const s = new Sessions()
  for (let i = 1; i <= MAX_SESSIONS; i++) s.apply(register(i), run)
  s.apply(command(5000, 1, 1), run) // the oldest is used again, so the second oldest goes
  s.apply(register(5001), run)
  expect([s.size, s.has(1), s.has(2)]).toEqual([MAX_SESSIONS, true, false])
  expect(s.apply(command(5002, 2, 1), run)).toEqual({ kind: 'expired', client: 2, seq: 1 })
  expect(ran).toEqual(['c1'])
  expect(s.takeDirty().filter((r) => r.value === undefined)).toEqual([{ key: '2', value: undefined }])
})

test('the table survives flushes and snapshots', async () => {
  ran = []
  const s = new Sessions()
  s.apply(register(1), run)
  s.apply(register(2), run)
  const first = s.apply(command(3, 1, 1), run)
  const flushed = new Map<string, SessionRow>()
  for (const row of s.takeDirty()) flushed.set(row.key, row)
  s.apply(command(4, 2, 1), run)
  const dirty = s.takeDirty()
  expect(dirty.map((r) => r.key)).toEqual(['2'])
  for (const row of dirty) flushed.set(row.key, row)
  expect(s.takeDirty()).toEqual([])
  expect(new Sessions([...flushed.values()]).rows()).toEqual(s.rows())

  async function* image(): AsyncIterable<Uint8Array> {
    yield Buffer.from('im')
    yield Buffer.from('age')
  }
  async function* bytewise(data: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    for await (const c of data) for (const b of c) yield Buffer.from([b])
  }
  for (const cut of [(d: AsyncIterable<Uint8Array>) => d, bytewise]) {
    const { rows, image: rest } = await splitRows(cut(withRows(s.rows(), image())))
    const restored = new Sessions(rows)
    expect(restored.apply(command(9, 1, 1), run)).toEqual(first)
    let text = ''
    for await (const c of rest) text += Buffer.from(c).toString()
    expect(text).toBe('image')
  }
})
