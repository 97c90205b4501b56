import { decodeMessage, encodeMessage } from '../../raft/codec.ts'
import type { SnapshotBytes } from '../../raft/store.ts'
import type { SnapshotMessage } from '../../raft/types.ts'
import { never, type Life } from './life.ts'
import type { Network, Port } from './network.ts'
import type { World } from './world.ts'

export type SnapshotHandler = (m: SnapshotMessage, data: SnapshotBytes) => Promise<void>

const PIECE = 200
/** Of silence; then the other side is given up. */
const STALL_MS = 1500
const DELAY_MS = 2

/** A snapshot on a stream of its own: piece by piece, each of which may be the last to arrive. */
export function sendSnapshot(
  world: World,
  network: Network,
  from: Life,
  message: SnapshotMessage,
  data: SnapshotBytes,
): Promise<void> {
  const port = network.port(message.to)
  if (!from.alive) return never()
  if (!port || !network.passes(message.from, message.to)) return Promise.reject(new Error('unreachable'))
  const m = decodeMessage(encodeMessage(message)) as SnapshotMessage
  return new Promise((resolve, reject) => new Stream(world, network, from, port, m, data, resolve, reject))
}

class Stream {
  readonly #world: World
  readonly #network: Network
  readonly #from: Life
  readonly #to: Port
  readonly #m: SnapshotMessage
  readonly #data: SnapshotBytes
  readonly #resolve: () => void
  readonly #reject: (e: Error) => void
  readonly #arrived: (Uint8Array | 'end')[] = []
  #wake: () => void = () => {}
  #broken: Error | undefined
  #done = false
  #progressAt = 0

  constructor(
    world: World,
    network: Network,
    from: Life,
    to: Port,
    m: SnapshotMessage,
    data: SnapshotBytes,
    resolve: () => void,
    reject: (e: Error) => void,
  ) {
    this.#world = world
    this.#network = network
    this.#from = from
    this.#to = to
    this.#m = m
    this.#data = data
    this.#resolve = resolve
    this.#reject = reject
    world.count('some snapshot sent')
    if (m.meta.conf.votersOutgoing.length > 0) world.count('some snapshot of a joint configuration sent')
    from.onDeath(() => this.#break(new Error('the sender died')))
    to.life.onDeath(() => this.#break(new Error('the receiver died')))
    this.#watch()
    world.clock.schedule(DELAY_MS, () => to.life.enter(() => this.#receive()))
  }

  #watch(): void {
    this.#progressAt = this.#world.now
    const look = () => {
      if (this.#done) return
      if (this.#world.now - this.#progressAt >= STALL_MS) this.#break(new Error('the stream stalled'))
      else this.#world.clock.schedule(STALL_MS, look)
    }
    this.#world.clock.schedule(STALL_MS, look)
  }

  /** What each side notices, in its own time. */
  #break(error: Error): void {
    if (this.#done) return
    this.#done = true
    this.#world.count('fault snapshot stream broken')
    this.#world.trace(() => `snapshot ${this.#m.from}>${this.#m.to} broke: ${error.message}`)
    this.#broken = error
    this.#to.life.schedule(DELAY_MS, () => this.#wake())
    // A disk that stalls may still be at a piece then.
    this.#from.schedule(DELAY_MS, () => this.#reject(error))
  }

  #receive(): void {
    this.#to
      .snapshot(this.#m, (from) => this.#read(from))
      .then(
        () => this.#answer(undefined),
        (e: unknown) => this.#answer(e instanceof Error ? e : new Error(String(e))),
      )
  }

  #answer(refused: Error | undefined): void {
    if (this.#done || !this.#network.passes(this.#m.to, this.#m.from)) return
    this.#done = true
    this.#from.schedule(DELAY_MS, () => (refused ? this.#reject(refused) : this.#resolve()))
  }

  async *#read(from: number): AsyncGenerator<Uint8Array> {
    if (from > 0) this.#world.count('some snapshot resumed')
    this.#from.schedule(DELAY_MS, () => void this.#pump(from))
    for (;;) {
      while (this.#arrived.length === 0) {
        if (this.#broken) throw this.#broken
        await new Promise<void>((resolve) => (this.#wake = resolve))
      }
      const piece = this.#arrived.shift()
      if (piece === 'end' || piece === undefined) return
      yield piece
    }
  }

  async #pump(from: number): Promise<void> {
    if (this.#done) return
    try {
      for await (const chunk of this.#data(from))
        for (let at = 0; at < chunk.length; at += PIECE) {
          await this.#from.sleep(DELAY_MS)
          if (!this.#pass(Buffer.from(chunk.subarray(at, at + PIECE)))) return
        }
      this.#pass('end')
    } catch (e) {
      this.#break(e instanceof Error ? e : new Error(String(e)))
    }
  }

  #pass(piece: Uint8Array | 'end'): boolean {
    if (this.#done) return false
    const m = this.#m
    if (!this.#network.passes(m.from, m.to) || this.#world.rng.network.chance(this.#network.streamBreaks)) {
      this.#break(new Error('the stream broke off'))
      return false
    }
    this.#progressAt = this.#world.now
    this.#to.life.schedule(DELAY_MS, () => {
      this.#arrived.push(piece)
      this.#wake()
    })
    return true
  }
}
