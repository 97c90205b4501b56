import { Writer, putU32 } from './bytes.ts'
import { writeMessage } from './codec.ts'
import { crc32c } from './crc32c.ts'
import { RaftError, type Message } from './types.ts'

/** Frames are [length u32][crc32c u32][payload]. Longer ones are refused before anything is kept of them. */
export const MAX_FRAME = 64 << 20
const HEADER = 8

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
  putU32(all, 0, payload.length)
  putU32(all, 4, crc32c(payload))
  return all
}

/** A message as a frame. */
export function messageFrame(m: Message): Buffer {
  const hint = m.type === 'append' ? m.entries.reduce((n, e) => n + e.data.length + 24, 64) : 128
  return frame(hint, (w) => writeMessage(w, m))
}
