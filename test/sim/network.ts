import { decodeMessage, encodeMessage } from '../../raft/codec.ts'
import { describeMessage } from '../../raft/describe.ts'
import type { Transport } from '../../raft/driver-api.ts'
import type { Message, NodeId } from '../../raft/types.ts'
import type { Life } from './life.ts'
import { sendSnapshot, type SnapshotHandler } from './snapshot-streams.ts'
import type { World } from './world.ts'

/** Chances per message, and milliseconds. */
export interface Weather {
  readonly loss: number
  readonly duplicate: number
  /** Of a message that takes up to `slowMs` instead of about `delayMs`. */
  readonly slow: number
  readonly slowMs: number
  readonly delayMs: number
}

export const calm: Weather = { loss: 0, duplicate: 0, slow: 0, slowMs: 0, delayMs: 1 }

export interface Port {
  readonly life: Life
  message: (m: Message) => void
  snapshot: SnapshotHandler
}

/** Carries everything between processes, through the real codec: late, twice, in another order, or not at all. */
export class Network {
  readonly #world: World
  readonly #ports = new Map<NodeId, Port>()
  /** One-way links, `from>to`. */
  readonly #cut = new Set<string>()
  readonly #held = new Map<string, (() => void)[]>()
  /** Counts resets: what was under way on a link before one never arrives. */
  readonly #resets = new Map<string, number>()
  readonly #onSend: (from: Life, m: Message) => void
  weather: Weather = calm
  /** Chance per piece of a snapshot. */
  streamBreaks = 0

  constructor(world: World, onSend: (from: Life, m: Message) => void) {
    this.#world = world
    this.#onSend = onSend
  }

  connect(id: NodeId, life: Life): Transport {
    const port: Port = {
      life,
      message: () => {},
      snapshot: () => Promise.reject(new Error('not open yet')),
    }
    this.#ports.set(id, port)
    life.onDeath(() => this.#ports.get(id) === port && this.#ports.delete(id))
    return {
      send: (messages) => {
        if (life.alive) for (const m of messages) this.#send(life, m)
      },
      onMessage: (f) => (port.message = f),
      sendSnapshot: (m, data) => sendSnapshot(this.#world, this, life, m, data),
      onSnapshot: (f) => (port.snapshot = f),
    }
  }

  port(id: NodeId): Port | undefined {
    return this.#ports.get(id)
  }

  passes(from: NodeId, to: NodeId): boolean {
    const link = `${from}>${to}`
    return !this.#cut.has(link) && !this.#held.has(link)
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(`${from}>${to}`)
  }
  /** Messages pile up and arrive together later. */
  hold(from: NodeId, to: NodeId): void {
    const link = `${from}>${to}`
    if (!this.#held.has(link)) this.#held.set(link, [])
  }
  reset(from: NodeId, to: NodeId): void {
    const link = `${from}>${to}`
    this.#resets.set(link, (this.#resets.get(link) ?? 0) + 1)
  }
  heal(): void {
    this.#cut.clear()
    this.release()
  }
  release(): void {
    const held = [...this.#held.values()].flat()
    this.#held.clear()
    for (const deliver of held) this.#world.clock.schedule(this.#world.rng.network.float() * 5, deliver)
  }

  #send(from: Life, m: Message): void {
    this.#onSend(from, m)
    this.#world.count('messages')
    const { network } = this.#world.rng
    const { loss, duplicate } = this.weather
    if (loss > 0 && network.chance(loss)) {
      this.#world.count('fault message lost')
      return
    }
    const bytes = encodeMessage(m)
    this.#deliverLater(m, bytes)
    if (duplicate > 0 && network.chance(duplicate)) {
      this.#world.count('fault message duplicated')
      this.#deliverLater(m, bytes)
    }
  }

  #deliverLater({ from, to }: Message, bytes: Uint8Array): void {
    const { network } = this.#world.rng
    const { delayMs, slow, slowMs } = this.weather
    let delay = delayMs * (0.5 + network.float())
    if (slow > 0 && network.chance(slow)) {
      delay += network.float() * slowMs
      this.#world.count('fault message late')
    }
    const link = `${from}>${to}`
    const resets = this.#resets.get(link)
    this.#world.clock.schedule(delay, () => {
      if (this.#resets.get(link) === resets) this.#deliver(link, to, bytes)
    })
  }

  #deliver(link: string, to: NodeId, bytes: Uint8Array): void {
    if (this.#cut.has(link)) return
    const held = this.#held.get(link)
    if (held) {
      held.push(() => this.#deliver(link, to, bytes))
      return
    }
    const port = this.#ports.get(to)
    if (!port) return
    // Waits in the socket while the process is stopped.
    port.life.enter(() => {
      const m = decodeMessage(bytes)
      this.#world.trace(() => describeMessage(m))
      port.message(m)
    })
  }
}
