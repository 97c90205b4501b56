// The load: one process for both sides, so that neither has a cheaper client's machine to itself.
import { connectToAgent, type AgentAccess } from '../agent/client.ts'
import { answer } from '../child.ts'
import type { Address } from '../raft/transport.ts'
import { connectToMember, type Client } from './client.ts'
import { connectToEtcd } from './grpc.ts'
import { Meter, type Measured } from './meter.ts'

export type Target =
  | { readonly kind: 'ours' | 'etcd'; readonly address: Address }
  | { readonly kind: 'agent'; readonly address: Address; readonly access: AgentAccess }

export interface Plan {
  readonly target: Target
  readonly op: 'write' | 'read'
  readonly connections: number
  /** Requests under way on each connection, all the time. */
  readonly outstanding: number
  readonly seconds: number
  readonly warmSeconds: number
  readonly keys: number
}

export interface Pace {
  readonly targets: readonly Target[]
  readonly perSecond: number
  readonly keys: number
}

/** For the first answer. */
const PATIENCE_MS = 30_000
const VALUE = Buffer.alloc(256, 0x61)
const keyOf = (n: number) => `key-${n.toString().padStart(8, '0')}`

async function open(t: Target): Promise<Client> {
  if (t.kind === 'agent') return connectToAgent(t.address, t.access)
  return t.kind === 'ours' ? connectToMember(t.address) : connectToEtcd(t.address)
}

/** Goes on from one plan to the next, so that all keys get their turn. */
let nextKey = 0

/** Keeps so many requests under way on every connection for a while. */
async function run(p: Plan): Promise<Measured> {
  const clients = await Promise.all(Array.from({ length: p.connections }, () => open(p.target)))
  const meter = new Meter()
  let going = true
  let left = p.connections * p.outstanding
  await new Promise<void>((resolve) => {
    const again = (c: Client) => {
      if (!going) {
        if (--left === 0) resolve()
        return
      }
      const key = keyOf(nextKey++ % p.keys)
      const start = performance.now()
      const done = (error?: string) => {
        meter.add(performance.now() - start, error)
        // A connection that is closed answers at once, and for ever.
        if (error === undefined) again(c)
        else setTimeout(() => again(c), 10)
      }
      if (p.op === 'write') c.write(key, VALUE, done)
      else c.read(key, done)
    }
    for (const c of clients) for (let i = 0; i < p.outstanding; i++) again(c)
    setTimeout(() => meter.begin(), p.warmSeconds * 1000)
    const end = () => {
      // On a machine that is too busy, a short time brings not a single answer.
      if (meter.count === 0 && performance.now() < latest) {
        setTimeout(end, 20)
        return
      }
      meter.end()
      going = false
    }
    const milliseconds = (p.warmSeconds + p.seconds) * 1000
    const latest = performance.now() + milliseconds + PATIENCE_MS
    setTimeout(end, milliseconds)
  })
  for (const c of clients) c.close()
  return meter.result()
}

/** A steady stream of writes, spread over the targets, whatever becomes of them. */
class Stream {
  readonly #pace: Pace
  readonly #clients: (Client | undefined)[]
  readonly #timer: NodeJS.Timeout
  #next = 0
  #began = performance.now()
  #meter = new Meter()
  /** When each acknowledged write was sent and acknowledged; kept between `mark` and `firstAfter`. */
  #acknowledged: { sent: number; at: number }[] | undefined
  #under = 0

  constructor(pace: Pace) {
    this.#pace = pace
    this.#clients = pace.targets.map(() => undefined)
    this.#meter.begin()
    this.#timer = setInterval(() => this.#tick(), 5)
  }

  #client(at: number): Client | undefined {
    const known = this.#clients[at]
    const target = this.#pace.targets[at]
    if (!known && target)
      open(target).then(
        (c) => (this.#clients[at] = c),
        () => {},
      )
    return known
  }

  #tick(): void {
    const due = Math.floor(((performance.now() - this.#began) / 1000) * this.#pace.perSecond)
    // Time that this process itself slept through is not made up for.
    if (due - this.#next > this.#pace.perSecond) this.#next = due
    for (; this.#next < due; this.#next++) this.#send(this.#next)
  }

  #send(n: number): void {
    const at = n % this.#clients.length
    const client = this.#client(at)
    if (!client) return
    const sent = performance.now()
    this.#under++
    client.write(keyOf(n % this.#pace.keys), VALUE, (error) => {
      this.#under--
      const now = performance.now()
      this.#meter.add(now - sent, error)
      if (error === undefined) this.#acknowledged?.push({ sent, at: now })
      else if (error === 'the connection was closed') this.#clients[at] = undefined
    })
  }

  /** From here on it is watched when writes come back. */
  mark(): number {
    this.#acknowledged = []
    return performance.now()
  }

  /** Milliseconds from `since` until a write sent after it was acknowledged. */
  async firstAfter(since: number, timeoutMs: number): Promise<number | undefined> {
    while (performance.now() < since + timeoutMs) {
      const first = this.#acknowledged?.find((a) => a.sent > since)
      if (first) return first.at - since
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    return undefined
  }

  /** What was measured since the last time. */
  lap(): Measured & { underWay: number } {
    const m = this.#meter
    m.end()
    this.#meter = new Meter()
    this.#meter.begin()
    return { ...m.result(), underWay: this.#under }
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const c of this.#clients) c?.close()
  }
}

let stream: Stream | undefined
let marked = 0

answer({
  run,
  stream(pace: Pace) {
    stream?.stop()
    stream = new Stream(pace)
  },
  lap: () => stream?.lap(),
  mark: () => void (marked = stream?.mark() ?? 0),
  firstAfterMark: (timeoutMs: number) => stream?.firstAfter(marked, timeoutMs),
  /** The stream has begun. */
  firstWrite: (timeoutMs: number) => stream?.firstAfter(stream.mark(), timeoutMs),
  endStream() {
    stream?.stop()
    stream = undefined
  },
})
