import { decodeMessage, encodeMessage } from '../codec.ts'
import type { Transport } from '../driver-api.ts'
import type { SnapshotBytes } from '../store.ts'
import type { Message, NodeId, SnapshotMessage } from '../types.ts'

interface Port {
  message: (m: Message) => void
  snapshot: (m: SnapshotMessage, data: SnapshotBytes) => Promise<void>
}

/** Connects the drivers of one process. Messages go through the codec, like on a wire; links can be cut and watched. */
export class Hub {
  readonly #ports = new Map<NodeId, Port>()
  /** False drops the message. */
  filter: (m: Message) => boolean = () => true
  /** What becomes of a snapshot's bytes on the way. */
  transfer: (m: SnapshotMessage, data: SnapshotBytes) => SnapshotBytes = (_m, data) => data
  #down = new Set<NodeId>()

  connect(id: NodeId): Transport {
    const port: Port = { message: () => {}, snapshot: () => Promise.reject(new Error('not open')) }
    this.#ports.set(id, port)
    const current = () => this.#ports.get(id) === port
    return {
      send: (messages) => {
        for (const m of messages) if (current()) this.#deliver(m)
      },
      onMessage: (f) => (port.message = f),
      sendSnapshot: async (m, data) => {
        const to = this.#route(m)
        if (!to || !current()) throw new Error('unreachable')
        await to.snapshot(m, this.transfer(m, data))
      },
      onSnapshot: (f) => (port.snapshot = f),
    }
  }

  /** A member that is cut off, in both directions. */
  isolate(id: NodeId): void {
    this.#down.add(id)
  }
  heal(id: NodeId): void {
    this.#down.delete(id)
  }
  /** The process is gone; what its transport still sends is lost. */
  remove(id: NodeId): void {
    this.#ports.delete(id)
  }

  #route(m: Message): Port | undefined {
    if (this.#down.has(m.from) || this.#down.has(m.to) || !this.filter(m)) return undefined
    return this.#ports.get(m.to)
  }

  #deliver(m: Message): void {
    const bytes = encodeMessage(m)
    setImmediate(() => this.#route(m)?.message(decodeMessage(bytes)))
  }
}
