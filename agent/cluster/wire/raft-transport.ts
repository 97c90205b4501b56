import type { TLSSocket } from 'node:tls'
import {
  type Message,
  PeerStream,
  receiveSnapshot,
  type SnapshotBytes,
  type SnapshotMessage,
  type Transport,
  writeSnapshot,
} from '../../../raft/index.ts'
import type { AddressBook } from './address-book.ts'
import { answerHello, greet, type Hello, protocols } from './hello.ts'
import { Link, type LinkLimits } from './link.ts'
import { alpn, dial, type Log, type Self, type WireProtocol } from './tls.ts'

export interface RaftTransportOptions {
  readonly self: Self
  readonly addresses: AddressBook
  /** In [0, 1), for the jitter of the back-off. */
  readonly random: () => number
  readonly log: Log
  readonly timeouts?: Partial<typeof defaultTimeouts>
  readonly limits?: Partial<LinkLimits>
}

const defaultTimeouts = {
  connectMs: 2_000,
  helloMs: 5_000,
  /** Without a byte either way; long, for the receiver's disk may be slow at the end. */
  snapshotIdleMs: 60_000,
  pulseMs: 1_000,
}

type SnapshotHandler = (m: SnapshotMessage, data: SnapshotBytes) => Promise<void>

/**
 * Carries raft's messages between members over mutual TLS: one connection for each direction of a pair, snapshots on
 * connections of their own. Nothing reaches the core but messages of the member that the certificate proves.
 */
export class RaftTransport implements Transport {
  readonly #options: RaftTransportOptions
  readonly #timeouts: typeof defaultTimeouts
  readonly #links = new Map<number, Link>()
  readonly #inbound = new Map<number, TLSSocket>()
  readonly #snapshots = new Map<TLSSocket, number>()
  readonly #reasons = new Map<number, string>()
  readonly #stopListening: () => void
  #onMessage: (m: Message) => void = () => undefined
  #onSnapshot: SnapshotHandler | undefined
  #closed = false

  constructor(options: RaftTransportOptions) {
    this.#options = options
    this.#timeouts = { ...defaultTimeouts, ...options.timeouts }
    this.#stopListening = options.addresses.onLearned((member) => this.#links.get(member)?.hurry())
  }

  send(messages: readonly Message[]): void {
    if (this.#closed) return
    for (const message of messages) this.#linkTo(message.to).send(message)
  }

  onMessage(f: (m: Message) => void): void {
    this.#onMessage = f
  }

  async sendSnapshot(m: SnapshotMessage, data: SnapshotBytes): Promise<void> {
    const socket = await this.#connect(m.to, alpn.snapshot)
    this.#track(socket, m.to)
    await writeSnapshot(socket, m, data)
  }

  onSnapshot(f: SnapshotHandler): void {
    this.#onSnapshot = f
  }

  /** A connection of `alpn.raft`, its member proven. */
  accept(socket: TLSSocket, member: number): void {
    this.#acceptStream(socket, member).catch((error: unknown) => this.#dropped(socket, member, error))
  }

  /** A connection of `alpn.snapshot`, its member proven. */
  acceptSnapshot(socket: TLSSocket, member: number): void {
    this.#receive(socket, member).catch((error: unknown) => this.#dropped(socket, member, error))
  }

  /** Bytes and messages waiting for each member, for the metrics. */
  waiting(): ReadonlyMap<number, { connected: boolean; messages: number; bytes: number }> {
    return new Map(
      [...this.#links].map(([member, link]) => [member, { connected: link.connected, ...link.waiting }]),
    )
  }

  /** The member was removed: nothing is sent to it any more, and what it sends is not read. */
  forget(member: number): void {
    this.#links.get(member)?.close()
    this.#links.delete(member)
    this.#reasons.delete(member)
    this.#inbound.get(member)?.destroy()
    this.#inbound.delete(member)
    for (const [socket, other] of this.#snapshots) if (other === member) socket.destroy()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#stopListening()
    for (const link of this.#links.values()) link.close()
    for (const socket of [...this.#inbound.values(), ...this.#snapshots.keys()]) socket.destroy()
    this.#links.clear()
  }

  #linkTo(member: number): Link {
    let link = this.#links.get(member)
    if (!link) {
      link = new Link({
        connect: async (signal) => {
          const socket = await this.#connect(member, alpn.raft, signal)
          this.#reasons.delete(member)
          this.#options.log.info({ member, remote: socket.remoteAddress }, 'connected')
          return socket
        },
        random: this.#options.random,
        onDown: (reason) => this.#report(member, reason),
        ...(this.#options.limits ? { limits: this.#options.limits } : {}),
      })
      this.#links.set(member, link)
    }
    return link
  }

  async #connect(member: number, protocol: WireProtocol, signal?: AbortSignal): Promise<TLSSocket> {
    const { self, addresses } = this.#options
    const target = { member, protocol, timeoutMs: this.#timeouts.connectMs, ...(signal ? { signal } : {}) }
    const socket = await dial(self, await addresses.of(member), target)
    try {
      const hello = await greet(socket, this.#hello(), member, this.#timeouts.helloMs)
      if (this.#closed) throw new Error('this agent is stopping')
      this.#learn(member, hello, socket)
      return socket
    } catch (error) {
      socket.destroy()
      throw error
    }
  }

  async #acceptStream(socket: TLSSocket, member: number): Promise<void> {
    const hello = await answerHello(socket, this.#hello(), member, this.#timeouts.helloMs)
    if (this.#closed) return void socket.destroy()
    // The older one is a leftover of a host that vanished without a word.
    this.#inbound.get(member)?.destroy()
    this.#inbound.set(member, socket)
    const stream = new PeerStream(socket)
    stream.onMessage((message) => {
      if (message.from === member && message.to === this.#options.self.member) this.#onMessage(message)
      else socket.destroy(new Error(`it sent a message of member ${message.from} to ${message.to}`))
    })
    const pulse = setInterval(() => stream.send([this.#pulse(member)]), this.#timeouts.pulseMs).unref()
    stream.onClose((error) => {
      clearInterval(pulse)
      if (this.#inbound.get(member) === socket) this.#inbound.delete(member)
      if (error) this.#options.log.warn({ member, reason: error.message }, 'connection from a member broke')
    })
    socket.resume()
    this.#learn(member, hello, socket)
  }

  /** A message that says nothing but that we still read: the dialling side looks at no other. */
  #pulse(to: number): Message {
    return { type: 'heartbeatReply', from: this.#options.self.member, to, term: 0, read: 0 }
  }

  async #receive(socket: TLSSocket, member: number): Promise<void> {
    const hello = await answerHello(socket, this.#hello(), member, this.#timeouts.helloMs)
    this.#learn(member, hello, socket)
    this.#track(socket, member)
    await receiveSnapshot(socket, async (m, data) => {
      if (m.from !== member || m.to !== this.#options.self.member)
        throw new Error(`it sent a snapshot of member ${m.from} to ${m.to}`)
      if (!this.#onSnapshot) throw new Error('no snapshot is taken here yet')
      await this.#onSnapshot(m, data)
    })
  }

  #track(socket: TLSSocket, member: number): void {
    this.#snapshots.set(socket, member)
    socket.once('close', () => this.#snapshots.delete(socket))
    socket.setTimeout(this.#timeouts.snapshotIdleMs, () => socket.destroy(new Error('the snapshot stalled')))
  }

  #hello(): Hello {
    const { cluster, member, advertised } = this.#options.self
    return { ...protocols, cluster, member, address: advertised() }
  }

  /** What a member says of itself, and for a connection it made, where it came from. */
  #learn(member: number, hello: Hello, socket: TLSSocket): void {
    this.#options.addresses.learn(member, hello.address, socket.remoteAddress)
  }

  #dropped(socket: TLSSocket, member: number, error: unknown): void {
    socket.destroySoon()
    this.#options.log.warn({ member, reason: String(error) }, 'dropped a connection of a member')
  }

  /** A member that is down is tried for hours: said once, until the reason changes. */
  #report(member: number, reason: string): void {
    if (this.#closed || this.#reasons.get(member) === reason) return
    this.#reasons.set(member, reason)
    this.#options.log.warn({ member, reason }, 'no connection to a member')
  }
}
