import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import { FrameParser, frame } from './frames.ts'
import { PeerStream } from './peer-stream.ts'
import { receiveSnapshot, writeSnapshot } from './snapshot-stream.ts'
import { EMPTY_CONF, type Message, type SnapshotMessage } from './types.ts'

const beat = (read: number): Message => ({ type: 'heartbeat', from: 1, to: 2, term: 3, commit: 4, read })
const snapshot: SnapshotMessage = {
  type: 'snapshot',
  from: 1,
  to: 2,
  term: 3,
  meta: { index: 9, term: 3, conf: { ...EMPTY_CONF, voters: [1, 2] }, bytes: 5, crc32c: 77 },
}

const cleanups: (() => void)[] = []
afterEach(() => {
  for (const f of cleanups.splice(0)) f()
})

async function sockets(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const a = connect(address.port, '127.0.0.1')
  const [b] = (await once(server, 'connection')) as [Socket]
  cleanups.push(() => {
    a.destroy()
    b.destroy()
    server.close()
  })
  return [a, b]
}

const framed = (s: string) => frame(s.length, (w) => w.raw(Buffer.from(s)))

describe('frames', () => {
  test('come out whole however they are cut', () => {
    const words = ['', 'a', 'bc'.repeat(500), 'd']
    const wire = Buffer.concat(words.map(framed))
    for (const size of [1, 2, 7, 8, 9, 500, wire.length]) {
      const parser = new FrameParser()
      const out: string[] = []
      for (let i = 0; i < wire.length; i += size)
        for (const p of parser.push(wire.subarray(i, i + size))) out.push(p.toString())
      expect(out).toEqual(words)
    }
  })

  test('a changed byte, and a length beyond the bound, are errors', () => {
    const wire = framed('hello')
    wire[10] = 0
    expect(() => [...new FrameParser().push(wire)]).toThrow(/damaged/)
    expect(() => [...new FrameParser(4).push(framed('hello'))]).toThrow(/too long/)
  })
})

describe('peer streams', () => {
  test('carry messages in order', async () => {
    const [a, b] = await sockets()
    const from = new PeerStream(a)
    const to = new PeerStream(b)
    const got: Message[] = []
    const done = new Promise<void>((resolve) => to.onMessage((m) => got.push(m) === 100 && resolve()))
    for (let i = 0; i < 100; i += 10) from.send(Array.from({ length: 10 }, (_, k) => beat(i + k)))
    await done
    expect(got).toEqual(Array.from({ length: 100 }, (_, i) => beat(i)))
  })

  test('garbage ends the stream, and sending on it says so', async () => {
    const [a, b] = await sockets()
    const to = new PeerStream(b)
    let messages = 0
    to.onMessage(() => messages++)
    const closed = new Promise<Error | undefined>((resolve) => to.onClose(resolve))
    a.on('error', () => {})
    a.write(frame(3, (w) => w.raw(Buffer.from([99, 1, 1]))))
    expect(await closed).toMatchObject({ code: 'codec' })
    expect(messages).toBe(0)
    expect(to.send([beat(1)])).toBe(false)
  })

  test('a peer that does not read is not queued for without end', () => {
    const [a] = duplexPair()
    const from = new PeerStream(a, { maxQueued: 10_000 })
    let sent = 0
    while (from.send([beat(1)])) expect(++sent).toBeLessThan(5000)
    expect(sent).toBeGreaterThan(10)
  })
})

describe('snapshot streams', () => {
  const big = Buffer.alloc(3_000_000, 'state')
  async function* image(fail = false): AsyncIterable<Uint8Array> {
    for (let i = 0; i < big.length; i += 700_000) {
      yield big.subarray(i, i + 700_000)
      if (fail) throw new Error('disk gone')
    }
  }

  test('the sender learns that it was stored', async () => {
    const [a, b] = await sockets()
    let stored = 0
    const receiving = receiveSnapshot(b, async (m, data) => {
      expect(m).toEqual(snapshot)
      for await (const c of data(0)) stored += c.length
    })
    await writeSnapshot(a, snapshot, () => image())
    await receiving
    expect(stored).toBe(big.length)
  })

  test('is sent from where the receiver says, and not at all from beyond its end', async () => {
    const whole = { ...snapshot, meta: { ...snapshot.meta, bytes: big.length } }
    for (const from of [1, 1_000_000, big.length]) {
      const [a, b] = await sockets()
      let stored = 0
      const receiving = receiveSnapshot(b, async (_m, data) => {
        for await (const c of data(from)) stored += c.length
      })
      await writeSnapshot(a, whole, async function* (at) {
        yield big.subarray(at)
      })
      await receiving
      expect(stored).toBe(big.length - from)
    }
    const [a, b] = await sockets()
    b.on('error', () => {})
    receiveSnapshot(b, async (_m, data) => {
      for await (const _ of data(big.length + 1)) continue
    }).catch(() => {})
    await expect(writeSnapshot(a, whole, () => image())).rejects.toMatchObject({ code: 'codec' })
  })

  test('a refusal before the data tells why, and nothing was sent', async () => {
    const [a, b] = await sockets()
    let asked = 0
    const receiving = receiveSnapshot(b, () => Promise.reject(new Error('another one is being received')))
    const sending = writeSnapshot(a, snapshot, () => (asked++, image()))
    await Promise.all([
      expect(sending).rejects.toThrow('the snapshot was refused: another one is being received'),
      expect(receiving).rejects.toThrow(),
    ])
    expect(asked).toBe(0)
  })

  test('a frame that is larger than any of a snapshot ends it', async () => {
    const [a, b] = await sockets()
    a.on('error', () => {})
    const receiving = receiveSnapshot(b, () => Promise.resolve())
    a.write(Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]))
    await expect(receiving).rejects.toMatchObject({ code: 'codec' })
    expect(b.destroyed || b.writableEnded).toBe(true)
  })

  test('a refusal in the middle ends both sides', async () => {
    const [a, b] = await sockets()
    b.on('error', () => {})
    const receiving = receiveSnapshot(b, async (_m, data) => {
      for await (const _ of data(0)) throw new Error('not wanted')
    })
    await Promise.all([
      expect(writeSnapshot(a, snapshot, () => image())).rejects.toThrow(),
      expect(receiving).rejects.toThrow('not wanted'),
    ])
    expect(b.destroyed).toBe(true)
  })

  test('a handler that does not want it and returns leaves nothing half-read', async () => {
    const [a, b] = await sockets()
    const receiving = receiveSnapshot(b, async () => {})
    await expect(writeSnapshot(a, snapshot, () => image())).rejects.toThrow()
    await receiving
    expect(b.destroyed).toBe(true)
  })

  test('a sender that fails is not taken for the end', async () => {
    const [a, b] = await sockets()
    let ended = false
    const receiving = receiveSnapshot(b, async (_m, data) => {
      for await (const _ of data(0)) continue
      ended = true
    })
    await Promise.all([
      expect(writeSnapshot(a, snapshot, () => image(true))).rejects.toThrow('disk gone'),
      expect(receiving).rejects.toThrow(),
    ])
    expect(ended).toBe(false)
  })
})
