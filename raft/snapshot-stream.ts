import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { Reader } from './bytes.ts'
import { decodeMessage } from './codec.ts'
import { FrameParser, frame, messageFrame } from './frames.ts'
import type { SnapshotBytes } from './store.ts'
import { RaftError, type SnapshotMessage } from './types.ts'

// A snapshot has a duplex of its own. There: one message frame, data frames, one empty frame. Back: "begin" with the
// bytes that need not be sent, then "stored"; or instead of either "refused", after which nothing more is read.
const BEGIN = 1
const STORED = 2
const REFUSED = 3
const CHUNK = 256 << 10
/** A data frame, or a message with the longest lists of members there may be. */
const MAX_SNAPSHOT_FRAME = 1 << 20
const MAX_ANSWER = 1024

/** Sends a snapshot over a duplex of its own. Resolves when the receiver has stored it; ends the duplex in any case. */
export async function writeSnapshot(duplex: Duplex, m: SnapshotMessage, data: SnapshotBytes): Promise<void> {
  const answers = frames(duplex, MAX_ANSWER)
  try {
    await write(duplex, messageFrame(m))
    const from = begun(await nextAnswer(answers), m)
    const end = nextAnswer(answers).then(stored)
    // Listened to all the while, so that whoever wants no more is not sent more.
    await Promise.race([writeData(duplex, data(from)), end])
    await end
    duplex.end()
  } catch (e) {
    duplex.destroy()
    throw e
  }
}

async function writeData(duplex: Duplex, data: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const piece of data)
    for (let at = 0; at < piece.length; at += CHUNK) {
      const part = piece.subarray(at, at + CHUNK)
      await write(
        duplex,
        frame(part.length, (w) => w.raw(part)),
      )
    }
  await write(
    duplex,
    frame(0, () => {}),
  )
}

interface Answer {
  readonly kind: number
  readonly r: Reader
}

async function nextAnswer(answers: AsyncGenerator<Buffer, undefined>): Promise<Answer> {
  const next = await answers.next()
  if (next.done) throw new RaftError('dropped', 'the snapshot stream was closed')
  const r = new Reader(next.value)
  const kind = r.byte()
  if (kind === REFUSED) throw new RaftError('dropped', `the snapshot was refused: ${r.text()}`)
  return { kind, r }
}

function begun({ kind, r }: Answer, m: SnapshotMessage): number {
  if (kind !== BEGIN) throw new RaftError('codec', 'a snapshot was answered out of turn')
  const from = r.int()
  if (from > m.meta.bytes) throw new RaftError('codec', `the receiver has ${from} of ${m.meta.bytes} bytes`)
  return from
}

function stored({ kind }: Answer): void {
  if (kind !== STORED) throw new RaftError('codec', 'a snapshot was answered out of turn')
}

/**
 * Hands an incoming snapshot to a handler and answers the sender. Data flows when the handler asks for it, from the
 * offset it names and as fast as it is taken; a handler that fails or returns before its end has refused it.
 */
export async function receiveSnapshot(
  duplex: Duplex,
  handler: (m: SnapshotMessage, data: SnapshotBytes) => Promise<void>,
): Promise<void> {
  const incoming = new IncomingSnapshot(duplex)
  try {
    const m = await incoming.message()
    await handler(m, (from) => incoming.data(from))
    incoming.finish()
  } catch (e) {
    incoming.refuse(e instanceof Error ? e.message : String(e))
    throw e
  }
}

class IncomingSnapshot {
  readonly #duplex: Duplex
  readonly #frames: AsyncGenerator<Buffer, undefined>
  #complete = false

  constructor(duplex: Duplex) {
    this.#duplex = duplex
    this.#frames = frames(duplex, MAX_SNAPSHOT_FRAME)
  }

  async message(): Promise<SnapshotMessage> {
    const head = await this.#frames.next()
    const m = head.done ? undefined : decodeMessage(head.value)
    if (m?.type !== 'snapshot') throw new RaftError('codec', 'no snapshot on a snapshot stream')
    return m
  }

  async *data(from: number): AsyncGenerator<Uint8Array, void> {
    await write(
      this.#duplex,
      frame(16, (w) => w.byte(BEGIN).int(from)),
    )
    for (;;) {
      const next = await this.#frames.next()
      if (next.done) throw new RaftError('dropped', 'the snapshot stream broke off')
      this.#complete = next.value.length === 0
      if (this.#complete) return
      yield next.value
    }
  }

  finish(): void {
    if (this.#complete) this.#duplex.end(frame(1, (w) => w.byte(STORED)))
    else this.refuse('it is not needed')
  }

  /** Nothing more is read of it, so the stream ends here: nobody finds the middle of a frame at its beginning. */
  refuse(reason: string): void {
    if (!this.#duplex.writable) return void this.#duplex.destroy()
    const answer = frame(256, (w) => w.byte(REFUSED).text(reason.slice(0, 200)))
    this.#duplex.end(answer, () => this.#duplex.destroy())
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
