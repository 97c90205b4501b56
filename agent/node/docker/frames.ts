import type { LogRecord } from '../../store/store.ts'
import { LineSplitter } from '../log/lines.ts'

/** One message of an engine's log stream: which stream it came from, and its bytes. */
export interface Frame {
  readonly stream: 'o' | 'e'
  readonly payload: Buffer
}

const headerBytes = 8
/** The engine writes messages of at most 16 KiB; far more than that is not a log stream. */
const maxPayload = 16 * 1024 * 1024

/** Cuts the engine's multiplexed stream into its messages. */
export class FrameParser {
  #parts: Buffer[] = []
  #length = 0

  push(chunk: Buffer): Frame[] {
    this.#parts.push(chunk)
    this.#length += chunk.length
    const frames: Frame[] = []
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame)
    return frames
  }

  #next(): Frame | undefined {
    if (this.#length < headerBytes) return undefined
    let all = this.#parts.length === 1 ? this.#parts[0] : undefined
    if (!all) this.#parts = [(all = Buffer.concat(this.#parts))]
    const size = all.readUInt32BE(4)
    if (size > maxPayload) throw new Error('not a log stream of a Docker Engine')
    if (this.#length < headerBytes + size) return undefined
    const payload = all.subarray(headerBytes, headerBytes + size)
    const rest = all.subarray(headerBytes + size)
    this.#parts = rest.length ? [rest] : []
    this.#length = rest.length
    return { stream: all[0] === 2 ? 'e' : 'o', payload }
  }
}

/**
 * Makes log records of messages with timestamps. The engine cuts lines into messages of 16 KiB that bear one time and,
 * but for the last, no line end: they are put together again. The same messages always make the same records.
 */
export class RecordMaker {
  readonly #open = { o: newLine(), e: newLine() }

  push(frame: Frame): LogRecord[] {
    const space = frame.payload.indexOf(0x20)
    if (space < 0) return []
    const time = frame.payload.subarray(0, space).toString('latin1')
    const line = this.#open[frame.stream]
    // A line whose end was thrown away with an old log file must not run into the next one.
    const cut = line.time !== time ? this.#flush(frame.stream) : []
    line.time = time
    return [...cut, ...records(time, frame.stream, line.splitter.push(frame.payload.subarray(space + 1)))]
  }

  /** At the end of the log: lines that had no end. */
  flush(): LogRecord[] {
    return [...this.#flush('o'), ...this.#flush('e')]
  }

  #flush(stream: 'o' | 'e'): LogRecord[] {
    const { time, splitter } = this.#open[stream]
    return records(time, stream, splitter.flush())
  }
}

const newLine = () => ({ time: '', splitter: new LineSplitter() })
const records = (t: string, s: 'o' | 'e', lines: readonly string[]): LogRecord[] =>
  lines.map((l) => ({ t, s, l }))
