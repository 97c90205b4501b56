import type { TLSSocket } from 'node:tls'
import { type Message, PeerStream } from '../../../raft/index.ts'

export interface LinkOptions {
  /** A connection to the member, greeted and ready for messages, and the address it was found at. */
  readonly connect: (signal: AbortSignal) => Promise<TLSSocket>
  /** In [0, 1). */
  readonly random: () => number
  readonly onDown: (reason: string) => void
  readonly limits?: Partial<LinkLimits>
}

export interface LinkLimits {
  /** Messages waiting for the socket: the oldest go first, raft sends again what still matters. */
  readonly maxQueuedBytes: number
  readonly maxQueuedMessages: number
  /** Kept while there is no connection: enough for an election to begin with, no more, for it all grows old. */
  readonly maxOfflineMessages: number
  /** Bytes handed to the socket before it has to take them. */
  readonly maxBufferedBytes: number
  /** The other side proves every second that it still reads; after so many seconds without, it is gone. */
  readonly maxSilentSeconds: number
}
const defaultLimits: LinkLimits = {
  maxQueuedBytes: 16 << 20,
  maxQueuedMessages: 4096,
  maxOfflineMessages: 64,
  maxBufferedBytes: 1 << 20,
  maxSilentSeconds: 5,
}

/** Full jitter above half: agents that lost the same leader do not come back in step. */
export function backoffMs(failures: number, random: () => number): number {
  const ceiling = Math.min(2_000, 50 * 2 ** Math.min(failures, 16))
  return Math.round(ceiling * (0.5 + random() / 2))
}

/** The one long-lived connection from here to a member; it carries messages one way. */
export class Link {
  readonly #options: LinkOptions
  readonly #limits: LinkLimits
  readonly #queue: Message[] = []
  #queuedBytes = 0
  #socket: TLSSocket | undefined
  #stream: PeerStream | undefined
  #dialling: AbortController | undefined
  #retry: NodeJS.Timeout | undefined
  #watch: NodeJS.Timeout | undefined
  #failures = 0
  #silentSeconds = 0
  #closed = false

  constructor(options: LinkOptions) {
    this.#options = options
    this.#limits = { ...defaultLimits, ...options.limits }
  }

  get connected(): boolean {
    return this.#stream !== undefined
  }

  /** Messages and bytes waiting here, the socket's own buffer included. */
  get waiting(): { messages: number; bytes: number } {
    return {
      messages: this.#queue.length,
      bytes: this.#queuedBytes + (this.#socket?.writableLength ?? 0),
    }
  }

  send(message: Message): void {
    if (this.#closed) return
    this.#queue.push(message)
    this.#queuedBytes += sizeOf(message)
    this.#trim()
    if (this.#stream) this.#flush()
    else if (!this.#dialling && !this.#retry) this.#dial()
  }

  /**
   * The member announced another address. Without a connection, do not wait for the back-off; one that still stands
   * has two seconds to show life, for nobody tells us that the other end of it has moved away.
   */
  hurry(): void {
    if (this.#closed) return
    this.#failures = 0
    if (this.#stream) this.#silentSeconds = this.#limits.maxSilentSeconds - 1
    else if (!this.#dialling) {
      clearTimeout(this.#retry)
      this.#retry = undefined
      this.#dial()
    }
  }

  close(): void {
    this.#closed = true
    this.#drop()
    this.#queue.length = this.#queuedBytes = 0
  }

  #dial(): void {
    const attempt = new AbortController()
    this.#dialling = attempt
    this.#options.connect(attempt.signal).then(
      (socket) => {
        if (this.#dialling === attempt) this.#up(socket)
        else socket.destroy()
      },
      (error: unknown) => {
        if (this.#dialling === attempt) this.#down(error instanceof Error ? error.message : String(error))
      },
    )
  }

  #up(socket: TLSSocket): void {
    const stream = new PeerStream(socket)
    this.#dialling = undefined
    this.#failures = 0
    this.#socket = socket
    this.#stream = stream
    this.#silentSeconds = 0
    stream.onMessage(() => (this.#silentSeconds = 0))
    // Counted in ticks, not read from a clock: after this process itself was stopped, one tick has passed.
    this.#watch = setInterval(() => {
      if (++this.#silentSeconds > this.#limits.maxSilentSeconds)
        socket.destroy(new Error('it stopped answering'))
    }, 1000).unref()
    stream.onClose((error) => {
      if (this.#stream === stream) this.#down(error?.message ?? 'closed by the other side')
    })
    socket.on('drain', () => this.#flush())
    socket.resume()
    if (socket.destroyed) this.#down('closed by the other side')
    else this.#flush()
  }

  #down(reason: string): void {
    this.#drop()
    this.#trim()
    this.#options.onDown(reason)
    const retry = () => {
      this.#retry = undefined
      if (this.#queue.length > 0) this.#dial()
    }
    this.#retry = setTimeout(retry, backoffMs(this.#failures++, this.#options.random))
  }

  #drop(): void {
    clearTimeout(this.#retry)
    clearInterval(this.#watch)
    this.#dialling?.abort()
    const socket = this.#socket
    this.#retry = this.#watch = this.#dialling = this.#socket = this.#stream = undefined
    socket?.destroy()
  }

  /** The socket gets no more than it takes; the rest waits here, where it can be dropped. */
  #flush(): void {
    while (this.#queue.length > 0 && this.#stream && this.#socket) {
      if (this.#socket.writableLength > this.#limits.maxBufferedBytes) return
      const batch = this.#take(this.#limits.maxBufferedBytes)
      if (!this.#stream.send(batch)) return
    }
  }

  #take(maxBytes: number): Message[] {
    let count = 0
    for (let bytes = 0; count < this.#queue.length && bytes < maxBytes; count++)
      bytes += sizeOf(this.#queue[count] as Message)
    return this.#shift(count)
  }

  #trim(): void {
    const { maxQueuedBytes, maxQueuedMessages, maxOfflineMessages } = this.#limits
    const most = this.#stream ? maxQueuedMessages : maxOfflineMessages
    let extra = Math.max(0, this.#queue.length - most)
    let bytes = this.#queuedBytes
    for (let i = 0; i < this.#queue.length - 1 && (i < extra || bytes > maxQueuedBytes); i++) {
      bytes -= sizeOf(this.#queue[i] as Message)
      extra = Math.max(extra, i + 1)
    }
    if (extra > 0) this.#shift(extra)
  }

  #shift(count: number): Message[] {
    const taken = this.#queue.splice(0, count)
    for (const message of taken) this.#queuedBytes -= sizeOf(message)
    return taken
  }
}

function sizeOf(message: Message): number {
  if (message.type === 'append') return message.entries.reduce((sum, { data }) => sum + data.length + 24, 64)
  if (message.type === 'propose' || message.type === 'proposeRefused')
    return message.commands.reduce((sum, { length }) => sum + length + 8, 64)
  return 64
}
