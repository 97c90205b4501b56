import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { Writer } from './bytes.ts'
import { decodeMessage, writeMessage } from './codec.ts'
import { crc32c } from './crc32c.ts'
import { RaftError, type Message, type SnapshotMessage } from './types.ts'

/** Frames are [length u32][crc32c u32][payload]. Longer ones are refused before anything is kept of them. */
export const MAX_FRAME = 64 << 20
const HEADER = 8
const CHUNK = 256 << 10

/** Cuts a byte stream into checked frames. */
export class FrameParser {
  readonly #maxFrame: number
  #chunks: Buffer[] = []
  #bytes = 0

  constructor(maxFrame = MAX_FRAME) {
    this.#maxFrame = maxFrame
  }

  /** Whole frames' payloads, sharing memory with the input where they lie in one piece. */
  *push(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes >= HEADER) {
      const head = this.#peek(HEADER)
      const length = head.readUInt32LE(0)
      if (length > this.#maxFrame) throw new RaftError('codec', `a frame of ${length} bytes is too long`)
      if (this.#bytes < HEADER + length) return
      const frame = this.#peek(HEADER + length)
      this.#drop(HEADER + length)
      const payload = frame.subarray(HEADER)
      if (crc32c(payload) !== frame.readUInt32LE(4)) throw new RaftError('codec', 'a frame arrived damaged')
      yield payload
    }
  }

  #peek(n: number): Buffer {
    const first = this.#chunks[0] as Buffer
    if (first.length >= n) return first.subarray(0, n)
    // Joined once per frame, not once per chunk.
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all.subarray(0, n)
  }

  #drop(n: number): void {
    const first = this.#chunks[0] as Buffer
    this.#bytes -= n
    if (first.length === n) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(n)
  }
}

/** One frame around what `body` writes. */
export function frame(sizeHint: number, body: (w: Writer) => void): Buffer {
  const w = new Writer(sizeHint + HEADER).u32(0).u32(0)
  body(w)
  const all = w.done()
  const payload = all.subarray(HEADER)
  all.writeUInt32LE(payload.length, 0)
  all.writeUInt32LE(crc32c(payload), 4)
  return all
}

function messageFrame(m: Message): Buffer {
  const hint = m.type === 'append' ? m.entries.reduce((n, e) => n + e.data.length + 24, 64) : 128
  return frame(hint, (w) => writeMessage(w, m))
}

/** Messages over one authenticated duplex to one member. Who that is, and that it may speak, is the caller's business. */
export class PeerStream {
  readonly #duplex: Duplex
  readonly #maxQueued: number
  #onMessage: (m: Message) => void = () => {}
  #onClose: (e?: Error) => void = () => {}
  #closed = false
  #error: Error | undefined

  constructor(duplex: Duplex, o: { maxFrame?: number; maxQueued?: number } = {}) {
    this.#duplex = duplex
    this.#maxQueued = o.maxQueued ?? 32 << 20
    const parser = new FrameParser(o.maxFrame)
    duplex.on('data', (chunk: Buffer) => {
      try {
        for (const payload of parser.push(chunk)) if (!this.#closed) this.#onMessage(decodeMessage(payload))
      } catch (e) {
        // Framing is lost; only a new stream can be trusted.
        duplex.destroy(e instanceof Error ? e : new Error(String(e)))
      }
    })
    duplex.on('error', (e) => (this.#error = e))
    duplex.on('end', () => duplex.destroy())
    duplex.on('close', () => {
      if (this.#closed) return
      this.#closed = true
      this.#onClose(this.#error)
    })
  }

  onMessage(f: (m: Message) => void): void {
    this.#onMessage = f
  }

  onClose(f: (e?: Error) => void): void {
    this.#onClose = f
  }

  /** Best effort: false, and nothing sent, when the stream is closed or the peer does not read. */
  send(messages: readonly Message[]): boolean {
    if (this.#closed || this.#duplex.destroyed || this.#duplex.writableLength > this.#maxQueued) return false
    this.#duplex.cork()
    for (const m of messages) this.#duplex.write(messageFrame(m))
    this.#duplex.uncork()
    return true
  }

  close(): void {
    this.#duplex.destroy()
  }
}

// A snapshot stream: one message frame, data frames, one empty frame; the receiver answers with one frame.
const ACCEPTED = Buffer.from([1])

/** Sends a snapshot over a duplex of its own. Resolves when the receiver has stored it; ends the duplex in any case. */
export async function writeSnapshot(
  duplex: Duplex,
  m: SnapshotMessage,
  data: AsyncIterable<Uint8Array>,
): Promise<void> {
  const answer = frames(duplex, 1024).next()
  answer.catch(() => {}) // looked at below, unless writing fails first
  try {
    await write(duplex, messageFrame(m))
    for await (const chunk of data)
      for (let at = 0; at < chunk.length; at += CHUNK) {
        const part = chunk.subarray(at, at + CHUNK)
        await write(
          duplex,
          frame(part.length, (w) => w.raw(part)),
        )
      }
    await write(
      duplex,
      frame(0, () => {}),
    )
    const reply = await answer
    if (reply.done || !ACCEPTED.equals(reply.value))
      throw new RaftError('dropped', 'the snapshot was refused')
    duplex.end()
  } catch (e) {
    duplex.destroy()
    throw e
  }
}

/** A snapshot that a peer offers, before it is stored. */
export interface IncomingSnapshot {
  readonly m: SnapshotMessage
  readonly data: AsyncIterable<Uint8Array>
  /** Tells the sender that it is stored; to be called after the last of the data was read. */
  accept(): void
  /** Not wanted: destroys the stream, so that nothing is left half-read. */
  refuse(): void
}

/** Reads the head of a snapshot stream; the data comes as fast as it is taken. */
export async function readSnapshot(duplex: Duplex): Promise<IncomingSnapshot> {
  const it = frames(duplex, MAX_FRAME)
  const head = await it.next()
  const m = head.done ? undefined : decodeMessage(head.value)
  if (m?.type !== 'snapshot') {
    duplex.destroy()
    throw new RaftError('codec', 'no snapshot on a snapshot stream')
  }
  let complete = false
  async function* data(): AsyncIterable<Uint8Array> {
    for (;;) {
      const next = await it.next()
      if (next.done) throw new RaftError('codec', 'the snapshot stream broke off')
      complete = next.value.length === 0
      if (complete) return
      yield next.value
    }
  }
  return {
    m,
    data: data(),
    accept() {
      if (complete) duplex.end(frame(1, (w) => w.raw(ACCEPTED)))
      else duplex.destroy()
    },
    refuse: () => void duplex.destroy(),
  }
}

/** Runs a receiver's handler on an incoming snapshot stream and answers the sender. */
export async function receiveSnapshot(
  duplex: Duplex,
  handler: (m: SnapshotMessage, data: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  const incoming = await readSnapshot(duplex)
  try {
    await handler(incoming.m, incoming.data)
    incoming.accept()
  } catch (e) {
    incoming.refuse()
    throw e
  }
}

async function* frames(duplex: Duplex, maxFrame: number): AsyncGenerator<Buffer, undefined> {
  const parser = new FrameParser(maxFrame)
  // The duplex stays usable after the last frame: the answer goes the other way.
  for await (const chunk of duplex.iterator({ destroyOnReturn: false })) yield* parser.push(chunk as Buffer)
  return undefined
}

async function write(duplex: Duplex, data: Buffer): Promise<void> {
  if (duplex.destroyed) throw new RaftError('dropped', 'the snapshot stream was closed')
  if (duplex.write(data)) return
  const stop = new AbortController()
  try {
    await Promise.race([
      once(duplex, 'drain', { signal: stop.signal }),
      once(duplex, 'close', { signal: stop.signal }).then(() => {
        throw new RaftError('dropped', 'the snapshot stream was closed')
      }),
    ])
  } finally {
    stop.abort()
  }
}
