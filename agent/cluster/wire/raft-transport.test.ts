import { once } from 'node:events'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { encodeMessage, frame, type Message, type SnapshotMessage } from '../../../raft/index.ts'
import { createCa } from '../identity/ca.ts'
import { setPeer } from './address-book.ts'
import { cleanUp, closed, credentialsOf, Inbox, later, startAgent, type TestAgent } from './testing/agent.ts'
import { alpn } from './tls.ts'

afterEach(cleanUp)

const heartbeat = (from: number, to: number, commit = 0): Message => ({
  type: 'heartbeat',
  from,
  to,
  term: 1,
  commit,
  read: 0,
})

const append = (bytes: number, index = 1): Message => ({
  type: 'append',
  from: 1,
  to: 2,
  term: 1,
  prevIndex: index - 1,
  prevTerm: 1,
  commit: 0,
  entries: [{ term: 1, index, kind: 'normal', data: new Uint8Array(bytes) }],
})

function inboxOf(agent: TestAgent): Inbox<Message> {
  const inbox = new Inbox<Message>()
  agent.transport.onMessage(inbox.add)
  return inbox
}

/** Two agents; the state of both knows where 2 is, and 2 learns where 1 is when it is called. */
async function pair() {
  const two = await startAgent(2)
  const state = new Map([[2, `127.0.0.1:${two.port}`]])
  const one = await startAgent(1, { state })
  return { one, two, state }
}

test('messages arrive in order, both ways, and the one who was called learned where the caller is', async () => {
  const { one, two } = await pair()
  const [atOne, atTwo] = [inboxOf(one), inboxOf(two)]
  one.transport.send([heartbeat(1, 2, 1), heartbeat(1, 2, 2), append(100_000)])
  expect((await atTwo.count(3)).map((m) => m.type)).toEqual(['heartbeat', 'heartbeat', 'append'])
  expect(await two.book.of(1)).toEqual([`127.0.0.1:${one.port}`])
  two.transport.send([heartbeat(2, 1, 9)])
  expect(await atOne.first()).toEqual(heartbeat(2, 1, 9))
})

test('a message in the name of another member never arrives', async () => {
  const { one, two } = await pair()
  const atTwo = inboxOf(two)
  one.transport.send([heartbeat(3, 2)])
  await two.lines.with('it sent a message of member 3 to 2')
  expect(atTwo.all).toEqual([])
})

test('another member at the address is refused and logged', async () => {
  const two = await startAgent(2)
  const one = await startAgent(1, { state: new Map([[3, `127.0.0.1:${two.port}`]]) })
  const atTwo = inboxOf(two)
  one.transport.send([{ ...heartbeat(1, 3) }])
  await one.lines.with('refused, member 2 answers there, not 3')
  expect(atTwo.all).toEqual([])
})

/** A caller with a good certificate, speaking by hand. */
async function call(agent: TestAgent, hello: object | Buffer): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port: agent.port,
    ...(await credentialsOf(2)),
    ALPNProtocols: [alpn.raft],
    checkServerIdentity: () => undefined,
  })
  socket.on('error', () => undefined)
  later(() => void socket.destroy())
  await once(socket, 'secureConnect')
  const text = Buffer.isBuffer(hello) ? hello : Buffer.from(JSON.stringify(hello))
  socket.write(Buffer.isBuffer(hello) ? hello : frame(text.length, (w) => w.raw(text)))
  return socket
}

const goodHello = { protocol: 1, cluster: 'c1', member: 2, address: '127.0.0.1:1' }
test.each([
  ['another protocol version', { ...goodHello, protocol: 2 }, 'one side speaks protocol 2, the other 1'],
  ['another cluster', { ...goodHello, cluster: 'c2' }, 'cluster c2 is not cluster c1'],
  ['another member than the certificate', { ...goodHello, member: 3 }, 'it says member 3, its certificate 2'],
  ['something that is no hello', { a: 1 }, 'its hello is not understood'],
])('a hello of %s is refused, and both sides learn why', async (_, hello, reason) => {
  const agent = await startAgent(1)
  const inbox = inboxOf(agent)
  const socket = await call(agent, hello)
  const answer = new Inbox<Buffer>()
  socket.on('data', answer.add)
  await closed(socket)
  expect(Buffer.concat(answer.all).toString()).toContain(reason)
  await agent.lines.with(reason)
  expect(inbox.all).toEqual([])
})

test('a newer agent that still speaks our version is understood, and one that does not is told', async () => {
  const agent = await startAgent(1)
  const inbox = inboxOf(agent)
  const socket = await call(agent, { ...goodHello, protocol: 3, since: 1 })
  const payload = encodeMessage(heartbeat(2, 1, 5))
  socket.write(frame(payload.length, (w) => w.raw(payload)))
  expect(await inbox.first()).toEqual(heartbeat(2, 1, 5))
  await closed(await call(agent, { ...goodHello, protocol: 3, since: 2 }))
  await agent.lines.with('one side speaks protocol 3, the other 1')
})

const yearAgo = new Date(Date.now() - 400 * 86_400_000)
test.each([
  ['of another member', () => credentialsOf(3), 'member 3 answers there, not 2'],
  ['of another cluster', () => credentialsOf(2, { cluster: 'c2' }), 'another cluster (c2)'],
  ['of another authority', async () => credentialsOf(2, { ca: await createCa('lab') }), 'self-signed'],
  ['that has expired', () => credentialsOf(2, { now: yearAgo }), 'expired'],
])('who answers with a certificate %s is sent nothing', async (_, credentials, reason) => {
  const other = await startAgent(2, { credentials: await credentials() })
  const one = await startAgent(1, { state: new Map([[2, `127.0.0.1:${other.port}`]]) })
  const [messages, snapshots] = [inboxOf(other), new Inbox<SnapshotMessage>()]
  other.transport.onSnapshot(async (m) => snapshots.add(m))
  one.transport.send([heartbeat(1, 2)])
  await one.lines.with(reason)
  await expect(one.transport.sendSnapshot(snapshot(), () => oneOf(new Uint8Array(10)))).rejects.toThrow(
    reason,
  )
  expect([messages.all, snapshots.all]).toEqual([[], []])
})

test('an agent that from one day on shows another member’s certificate is not heard', async () => {
  const { one, two } = await pair()
  const atTwo = inboxOf(two)
  one.transport.send([heartbeat(1, 2)])
  await atTwo.first()
  // From here on agent 1 shows what agent 3 was given; the hello still says 1.
  const swapped = await startAgent(1, {
    credentials: await credentialsOf(3),
    state: new Map([[2, `127.0.0.1:${two.port}`]]),
  })
  swapped.transport.send([heartbeat(1, 2, 9)])
  await two.lines.with('it says member 1, its certificate 3')
  expect(atTwo.all).toEqual([heartbeat(1, 2)])
})

test.each([
  ['that is too long', Buffer.alloc(5000, 0xff)],
  ['that is damaged', Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d])],
])('a hello %s ends the connection', async (_, bytes) => {
  const agent = await startAgent(1)
  await closed(await call(agent, bytes))
  await agent.lines.with('dropped a connection of a member')
})

test('a caller that never says hello is dropped', async () => {
  const agent = await startAgent(1, { transport: { timeouts: { helloMs: 50 } } })
  await closed(await call(agent, Buffer.from([1])))
  await agent.lines.with('no hello within 50 ms')
})

test('a hello that comes byte by byte, and a message in the same packet, are both understood', async () => {
  const agent = await startAgent(1)
  const inbox = inboxOf(agent)
  const text = Buffer.from(JSON.stringify(goodHello))
  const hello = frame(text.length, (w) => w.raw(text))
  const socket = await call(agent, hello.subarray(0, 5))
  const payload = encodeMessage(heartbeat(2, 1, 5))
  const rest = [hello.subarray(5), frame(payload.length, (w) => w.raw(payload))]
  socket.write(Buffer.concat(rest))
  expect(await inbox.first()).toEqual(heartbeat(2, 1, 5))
})

test('a member that comes back on another port is found by its own call', async () => {
  const { one, two } = await pair()
  const first = inboxOf(two)
  one.transport.send([heartbeat(1, 2)])
  await first.first()
  await two.stop()
  await one.lines.with('no connection to a member')

  const again = await startAgent(2, { data: two.data })
  expect(again.port).not.toBe(two.port)
  const atAgain = inboxOf(again)
  const atOne = inboxOf(one)
  // It still knows where 1 is, and by calling tells where it is now.
  again.transport.send([heartbeat(2, 1)])
  await atOne.first()
  one.transport.send([heartbeat(1, 2, 7)])
  await atAgain.first()
  expect((await one.book.of(2))[0]).toBe(`127.0.0.1:${again.port}`)
})

test('set-peer on one node repairs it when every address changed', async () => {
  const { one, two } = await pair()
  const before = inboxOf(two)
  one.transport.send([heartbeat(1, 2)])
  await before.first()
  await Promise.all([one.stop(), two.stop()])

  // Both come back elsewhere; what they know of each other is old.
  const old = new Map([
    [1, `127.0.0.1:${one.port}`],
    [2, `127.0.0.1:${two.port}`],
  ])
  const [newOne, newTwo] = [
    await startAgent(1, { data: one.data, state: old }),
    await startAgent(2, { data: two.data, state: old }),
  ]
  const [atOne, atTwo] = [inboxOf(newOne), inboxOf(newTwo)]
  newOne.transport.send([heartbeat(1, 2)])
  newTwo.transport.send([heartbeat(2, 1)])
  await Promise.all([newOne, newTwo].map(({ lines }) => lines.with('no connection to a member')))
  expect([atOne.all, atTwo.all]).toEqual([[], []])

  await setPeer(newOne.data, 2, `127.0.0.1:${newTwo.port}`)
  // Nothing else is done: the next attempt of the back-off reads the file, and its hello repairs the other side.
  expect(await atTwo.first()).toEqual(heartbeat(1, 2))
  expect(await atOne.first()).toEqual(heartbeat(2, 1))
})

test('a snapshot streams while messages go on, and is sent only when it is stored', async () => {
  const { one, two } = await pair()
  const atTwo = inboxOf(two)
  const during = Promise.withResolvers<void>()
  const stored = Promise.withResolvers<void>()
  let received = 0
  two.transport.onSnapshot(async (m, data) => {
    expect(m.meta.index).toBe(10)
    for await (const chunk of data(0)) {
      received += chunk.length
      if (received >= 2 << 20) during.resolve()
    }
    await stored.promise
  })
  const gate = Promise.withResolvers<void>()
  async function* data() {
    for (let i = 0; i < 64; i++) {
      // Half of it waits until messages came through beside it.
      if (i === 32) await gate.promise
      yield new Uint8Array(64 << 10)
    }
  }
  let done = false
  const sent = one.transport.sendSnapshot(snapshot(), data).then(() => (done = true))
  one.transport.send([heartbeat(1, 2, 3)])
  await Promise.all([during.promise, atTwo.first()])
  gate.resolve()
  one.transport.send([heartbeat(1, 2, 4)])
  await atTwo.count(2)
  expect(done).toBe(false)
  stored.resolve()
  await sent
  expect(received).toBe(4 << 20)
})

const snapshot = (from = 1): SnapshotMessage => ({
  type: 'snapshot',
  from,
  to: 2,
  term: 1,
  meta: {
    index: 10,
    term: 1,
    conf: { voters: [1, 2], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
    bytes: 4 << 20,
    crc32c: 0,
  },
})

async function* oneOf(bytes: Uint8Array) {
  yield bytes
}

test('a snapshot fails when the receiver refuses it, or it is in the name of another', async () => {
  const { one: sender, two } = await pair()
  const seen = new Inbox<SnapshotMessage>()
  two.transport.onSnapshot(async (m) => {
    seen.add(m)
    throw new Error('busy')
  })
  await expect(sender.transport.sendSnapshot(snapshot(), () => oneOf(new Uint8Array(10)))).rejects.toThrow()
  await expect(sender.transport.sendSnapshot(snapshot(3), () => oneOf(new Uint8Array(10)))).rejects.toThrow()
  await two.lines.with('it sent a snapshot of member 3 to 2')
  expect(seen.all.map((m) => m.from)).toEqual([1])
})

test('a snapshot goes on from where the receiver says', async () => {
  const { one, two } = await pair()
  const text = Buffer.from('the first half, the second half')
  const got: string[] = []
  two.transport.onSnapshot(async (_, data) => {
    for await (const piece of data(16)) got.push(Buffer.from(piece).toString())
  })
  await one.transport.sendSnapshot(snapshot(), (from) => oneOf(text.subarray(from)))
  expect(got).toEqual(['the second half'])
})

test('a snapshot whose receiver stalls fails instead of waiting for ever', async () => {
  const { one: sender, two } = await pair()
  two.transport.onSnapshot(() => new Promise(() => undefined))
  const stalling = await startAgent(1, {
    state: new Map([[2, `127.0.0.1:${two.port}`]]),
    transport: { timeouts: { snapshotIdleMs: 100 } },
  })
  await sender.stop()
  await expect(stalling.transport.sendSnapshot(snapshot(), () => oneOf(new Uint8Array(10)))).rejects.toThrow()
})

test('a receiver that does not read makes nothing grow, and gets the newest when it reads again', async () => {
  const limits = { maxQueuedBytes: 4 << 20, maxBufferedBytes: 1 << 20 }
  const sockets = new Inbox<TLSSocket>()
  const two = await startAgent(2)
  const atTwo = inboxOf(two)
  const accept = two.transport.accept.bind(two.transport)
  two.transport.accept = (socket, member) => {
    sockets.add(socket)
    accept(socket, member)
  }
  const one = await startAgent(1, {
    state: new Map([[2, `127.0.0.1:${two.port}`]]),
    transport: { limits },
  })
  one.transport.send([heartbeat(1, 2)])
  await atTwo.first()
  const socket = await sockets.first()
  socket.pause()
  for (let i = 1; i <= 400; i++) {
    one.transport.send([append(256 << 10, i)])
    await new Promise(setImmediate)
    const { bytes } = one.transport.waiting().get(2) ?? { bytes: 0 }
    // The queue, what the socket was handed, and one batch with its last message over the limit.
    expect(bytes).toBeLessThan((4 << 20) + (2 << 20) + (2 << 20))
  }
  socket.resume()
  await atTwo.until(() => atTwo.all.some((m) => m.type === 'append' && m.prevIndex === 399))
  const indexes = atTwo.all.flatMap((m) => (m.type === 'append' ? [m.prevIndex] : []))
  expect(indexes.length).toBeLessThan(400)
  expect(indexes).toEqual(indexes.toSorted((a, b) => a - b))
})
