import type { Duplex } from 'node:stream'
import { decodeMessage } from './codec.ts'
import { FrameParser, messageFrame } from './frames.ts'
import type { Message } from './types.ts'

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
