import type { Address } from '../raft/transport.ts'
import { dial, Pending, type Client, type Done } from './client.ts'

// etcd speaks gRPC: HTTP/2 with protobuf. What a Put and a Range need of both, by hand, so that the client costs less
// than any library would: etcd shares the machine with its load.

const HEAD = 9
const EMPTY: Buffer = Buffer.alloc(0)
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

function frame(type: number, flags: number, stream: number, payload: Uint8Array = EMPTY): Buffer {
  const head = Buffer.allocUnsafe(HEAD)
  writeHead(head, 0, type, flags, stream, payload.length)
  return Buffer.concat([head, payload])
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

/** [not compressed u8][length u32] before each message of gRPC. */
const PREFIX = 5

const varintLength = (n: number): number => (n < 0x80 ? 1 : 1 + varintLength(n >>> 7))

/** A call in one piece: its headers, and a gRPC message of one or two byte strings, the fields 1 and 2. */
function callFrames(stream: number, headers: Buffer, first: string, second?: Uint8Array): Buffer {
  const rest = second ? 1 + varintLength(second.length) + second.length : 0
  const length = 1 + varintLength(first.length) + first.length + rest
  const out = Buffer.allocUnsafe(2 * HEAD + headers.length + PREFIX + length)
  let at = writeHead(out, 0, HEADERS, END_HEADERS, stream, headers.length)
  at += headers.copy(out, at)
  at = writeHead(out, at, DATA, END_STREAM, stream, PREFIX + length)
  out[at++] = 0
  at = writeField(out, putU32(out, at, length), 1, first.length)
  at += out.write(first, at, 'latin1')
  if (second) out.set(second, writeField(out, at, 2, second.length))
  return out
}

function writeHead(out: Buffer, at: number, type: number, flags: number, stream: number, n: number): number {
  // Without the checks of Buffer's own ways.
  out[at] = n >>> 16
  out[at + 1] = n >>> 8
  out[at + 2] = n
  out[at + 3] = type
  out[at + 4] = flags
  return putU32(out, at + 5, stream)
}

function putU32(out: Buffer, at: number, n: number): number {
  out[at] = n >>> 24
  out[at + 1] = n >>> 16
  out[at + 2] = n >>> 8
  out[at + 3] = n
  return at + 4
}

/** Tag and length of a byte string. */
function writeField(out: Buffer, at: number, field: number, length: number): number {
  out[at++] = (field << 3) | 2
  for (; length >= 0x80; length >>>= 7) out[at++] = (length & 0x7f) | 0x80
  out[at++] = length
  return at
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
  const call = (head: Buffer, done: Done, key: string, value?: Uint8Array) => {
    const stream = next
    next += 2
    if (socket.destroyed) return done('the connection was closed')
    pending.add(stream, done)
    socket.write(callFrames(stream, head, key, value))
  }
  return {
    write: (key, value, done) => call(PUT, done, key, value),
    read: (key, done) => call(RANGE, done, key),
    close: () => void socket.destroy(),
  }
}

function frames(
  onFrame: (type: number, flags: number, stream: number, payload: Buffer) => void,
): (chunk: Buffer) => void {
  let rest = EMPTY
  return (chunk) => {
    const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (data.length - at >= HEAD) {
      const b = (i: number) => data[at + i] as number
      const end = at + HEAD + ((b(0) << 16) | (b(1) << 8) | b(2))
      if (end > data.length) break
      const stream = ((b(5) & 0x7f) << 24) | (b(6) << 16) | (b(7) << 8) | b(8)
      onFrame(b(3), b(4), stream, data.subarray(at + HEAD, end))
      at = end
    }
    rest = at < data.length ? data.subarray(at) : EMPTY
  }
}
