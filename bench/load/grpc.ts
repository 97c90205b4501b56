import type { Address } from '../raft/transport.ts'
import { dial, Pending, type Client, type Done } from './client.ts'

// etcd speaks gRPC: HTTP/2 with protobuf. What a Put and a Range need of both, by hand, so that the client costs less
// than any library would: etcd shares the machine with its load.

const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const SETTINGS = 4
const PING = 6
const GOAWAY = 7
const WINDOW_UPDATE = 8
const ACK = 1
const END_STREAM = 1
const END_HEADERS = 4

const MAX_WINDOW = 0x7fff_ffff
/** Given back before it runs out: a few hundred bytes of each reply count against it. */
const REFILL = 1 << 30

function frame(type: number, flags: number, stream: number, ...parts: Uint8Array[]): Buffer {
  const length = parts.reduce((n, p) => n + p.length, 0)
  const head = Buffer.allocUnsafe(9)
  head.writeUIntBE(length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, ...parts], 9 + length)
}

/** HPACK without tables or Huffman codes: every field as a new literal that is not to be indexed. */
function headers(path: string): Buffer {
  const text = (s: string) => [s.length, ...Buffer.from(s, 'latin1')]
  const field = (name: string, value: string) => [0, ...text(name), ...text(value)]
  return Buffer.from([
    ...field(':method', 'POST'),
    ...field(':scheme', 'http'),
    ...field(':path', path),
    ...field(':authority', 'etcd'),
    ...field('content-type', 'application/grpc'),
    ...field('te', 'trailers'),
  ])
}

const PUT = headers('/etcdserverpb.KV/Put')
const RANGE = headers('/etcdserverpb.KV/Range')

function varint(n: number): number[] {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...varint(n >>> 7)]
}

/** A gRPC message: [not compressed u8][length u32][fields 1, 2 … as byte strings]. */
function message(...fields: Uint8Array[]): Buffer {
  const parts = fields.flatMap((f, i) => [Buffer.from([((i + 1) << 3) | 2, ...varint(f.length)]), f])
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

export async function connectToEtcd(address: Address): Promise<Client> {
  const pending = new Pending()
  const socket = await dial(address, pending)
  const window = Buffer.alloc(4)
  window.writeUInt32BE(MAX_WINDOW - 65_535)
  socket.write(
    Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      // INITIAL_WINDOW_SIZE, and no dynamic table to keep for the server's headers, which are not decoded.
      frame(SETTINGS, 0, 0, Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 0])),
      frame(WINDOW_UPDATE, 0, 0, window),
    ]),
  )
  /** Streams whose reply's message has come: only a call that succeeded has one. */
  const answered = new Set<number>()
  let taken = 0
  const onFrame = (type: number, flags: number, stream: number, payload: Buffer) => {
    if (type === DATA) {
      taken += payload.length
      if (payload.length > 0) answered.add(stream)
      if (taken > REFILL) {
        const more = Buffer.alloc(4)
        more.writeUInt32BE(taken)
        socket.write(frame(WINDOW_UPDATE, 0, 0, more))
        taken = 0
      }
    } else if (type === SETTINGS && !(flags & ACK)) socket.write(frame(SETTINGS, ACK, 0))
    else if (type === PING && !(flags & ACK)) socket.write(frame(PING, ACK, 0, payload))
    else if (type === GOAWAY) socket.destroy()
    const ends = type === RST_STREAM || ((type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0)
    if (ends) pending.settle(stream, answered.delete(stream) ? undefined : 'etcd refused it')
  }
  socket.on('data', frames(onFrame))
  let next = 1
  const call = (head: Buffer, body: Buffer, done: Done) => {
    const stream = next
    next += 2
    if (socket.destroyed) return done('the connection was closed')
    pending.add(stream, done)
    socket.write(
      Buffer.concat([frame(HEADERS, END_HEADERS, stream, head), frame(DATA, END_STREAM, stream, body)]),
    )
  }
  return {
    write: (key, value, done) => call(PUT, message(Buffer.from(key), value), done),
    read: (key, done) => call(RANGE, message(Buffer.from(key)), done),
    close: () => void socket.destroy(),
  }
}

function frames(
  onFrame: (type: number, flags: number, stream: number, payload: Buffer) => void,
): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (data.length - at >= 9) {
      const end = at + 9 + data.readUIntBE(at, 3)
      if (end > data.length) break
      const stream = data.readUInt32BE(at + 5) & 0x7fff_ffff
      onFrame(data[at + 3] as number, data[at + 4] as number, stream, data.subarray(at + 9, end))
      at = end
    }
    rest = data.subarray(at)
  }
}
