import { EventEmitter } from 'node:events'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { frame, encodeMessage, type Message } from '../../../raft/index.ts'
import { backoffMs, Link, type LinkOptions } from './link.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const message = (commit: number): Message => ({
  type: 'heartbeat',
  from: 1,
  to: 2,
  term: 1,
  commit,
  read: 0,
})

/** A socket that takes everything at once and shows what it was given. */
class FakeSocket extends EventEmitter {
  destroyed = false
  writableLength = 0
  frames = 0
  cork() {}
  uncork() {}
  resume() {}
  write(): boolean {
    this.frames++
    return true
  }
  destroy(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
}

function linkWith(connect: LinkOptions['connect']) {
  const downs: string[] = []
  const link = new Link({ connect, random: () => 1, onDown: (reason) => downs.push(reason) })
  return { link, downs }
}

const settled = () => vi.advanceTimersByTimeAsync(0)

test('the back-off doubles from 50 ms to 2 s, and its jitter takes at most half', () => {
  expect([0, 1, 2, 5, 6, 100].map((n) => backoffMs(n, () => 0.999_999))).toEqual([
    50, 100, 200, 1600, 2000, 2000,
  ])
  expect([0, 6].map((n) => backoffMs(n, () => 0))).toEqual([25, 1000])
})

test('a member that is down is tried ever more rarely, and only while there is something to say', async () => {
  const tries: number[] = []
  const { link, downs } = linkWith(async () => {
    tries.push(Date.now())
    throw new Error('no route')
  })
  const begin = Date.now()
  link.send(message(1))
  await vi.advanceTimersByTimeAsync(10_000)
  expect(tries.map((at) => at - begin)).toEqual([0, 50, 150, 350, 750, 1550, 3150, 5150, 7150, 9150])
  expect(new Set(downs)).toEqual(new Set(['no route']))
  link.close()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(tries).toHaveLength(10)
})

test('sending does not shorten the back-off, a new address does', async () => {
  let tries = 0
  const { link } = linkWith(async () => {
    tries++
    throw new Error('no route')
  })
  link.send(message(1))
  await vi.advanceTimersByTimeAsync(3_200)
  const before = tries
  for (let i = 0; i < 10; i++) link.send(message(i))
  await settled()
  expect(tries).toBe(before)
  link.hurry()
  await settled()
  expect(tries).toBe(before + 1)
  await vi.advanceTimersByTimeAsync(50)
  expect(tries).toBe(before + 2)
  link.close()
})

test('without a connection only the newest messages are kept, and they go first when there is one', async () => {
  const gate = Promise.withResolvers<TLSSocket>()
  const { link } = linkWith(() => gate.promise)
  for (let i = 0; i < 1000; i++) link.send(message(i))
  expect(link.waiting).toEqual({ messages: 64, bytes: 64 * 64 })
  const socket = new FakeSocket()
  gate.resolve(socket as unknown as TLSSocket)
  await settled()
  expect([socket.frames, link.connected, link.waiting.messages]).toEqual([64, true, 0])
  link.close()
  expect(socket.destroyed).toBe(true)
})

const pulse = () => {
  const payload = encodeMessage({ type: 'heartbeatReply', from: 2, to: 1, term: 0, read: 0 })
  return frame(payload.length, (w) => w.raw(payload))
}

test('a connection whose other end shows no life for 5 s is given up; one with a pulse is kept', async () => {
  const sockets: FakeSocket[] = []
  const { link, downs } = linkWith(async () => {
    const socket = new FakeSocket()
    sockets.push(socket)
    return socket as unknown as TLSSocket
  })
  link.send(message(1))
  for (let second = 0; second < 20; second++) {
    await vi.advanceTimersByTimeAsync(1000)
    sockets[0]?.emit('data', pulse())
  }
  expect(sockets).toHaveLength(1)
  await vi.advanceTimersByTimeAsync(5_500)
  expect(sockets[0]?.destroyed).toBe(false)
  await vi.advanceTimersByTimeAsync(1_000)
  expect([sockets[0]?.destroyed, downs.length, link.connected]).toEqual([true, 1, false])
  link.close()
})

test('a connection to a member that announced another address has two seconds to show life', async () => {
  const sockets: FakeSocket[] = []
  const { link } = linkWith(async () => {
    const socket = new FakeSocket()
    sockets.push(socket)
    return socket as unknown as TLSSocket
  })
  link.send(message(1))
  await settled()
  link.hurry()
  await vi.advanceTimersByTimeAsync(1_500)
  sockets[0]?.emit('data', pulse())
  await vi.advanceTimersByTimeAsync(3_000)
  expect(sockets[0]?.destroyed).toBe(false)
  link.hurry()
  await vi.advanceTimersByTimeAsync(2_000)
  expect(sockets[0]?.destroyed).toBe(true)
  link.close()
})
