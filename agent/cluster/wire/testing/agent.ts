import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { createCa, createKeyAndRequest, type Credentials, type Pair, signNode } from '../../identity/ca.ts'
import { AddressBook } from '../address-book.ts'
import { Listener, type ListenerOptions } from '../listener.ts'
import { PeerWire } from '../peers.ts'
import { RaftTransport, type RaftTransportOptions } from '../raft-transport.ts'
import { alpn, type Log, type Self } from '../tls.ts'

export const cluster = 'c1'

/** Undone in reverse order by `cleanUp`, which each test file calls after each test. */
const cleanups: (() => Promise<unknown> | void)[] = []
export const later = (undo: () => Promise<unknown> | void) => void cleanups.push(undo)
export async function cleanUp(): Promise<void> {
  for (const undo of cleanups.splice(0).reverse()) await undo()
}

export async function scratchFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'submarine-wire-'))
  later(() => rm(folder, { recursive: true, force: true }))
  return folder
}

let ca: Promise<Pair> | undefined
export const theCa = (): Promise<Pair> => (ca ??= createCa('lab'))

export async function credentialsOf(
  member: number,
  more: { ca?: Pair; cluster?: string; now?: Date } = {},
): Promise<Credentials> {
  const authority = more.ca ?? (await theCa())
  const { key, request } = await createKeyAndRequest()
  const cert = await signNode({
    ca: authority,
    request,
    cluster: more.cluster ?? cluster,
    member,
    name: `host-${member}`,
    ips: [],
    ...(more.now ? { now: more.now } : {}),
  })
  return { ca: authority.cert, cert, key }
}

/** Everything that was logged, and a promise of the first line that holds a text. */
export class Lines {
  readonly all: string[] = []
  readonly #waiting = new Set<() => void>()
  readonly log: Log

  constructor() {
    const write = (fields: unknown, message?: unknown) => {
      this.all.push(`${String(message)} ${JSON.stringify(fields)}`)
      for (const check of [...this.#waiting]) check()
    }
    this.log = { debug: write, info: write, warn: write, error: write }
  }

  async with(text: string): Promise<string> {
    return new Promise((resolve) => {
      const check = () => {
        const line = this.all.find((one) => one.includes(text))
        if (line === undefined) return
        this.#waiting.delete(check)
        resolve(line)
      }
      this.#waiting.add(check)
      check()
    })
  }
}

/** What came so far, and promises of what is still to come. */
export class Inbox<T> {
  readonly all: T[] = []
  readonly #waiting = new Set<() => void>()

  readonly add = (item: T): void => {
    this.all.push(item)
    for (const check of [...this.#waiting]) check()
  }

  async first(): Promise<T> {
    await this.count(1)
    return this.all[0] as T
  }

  async count(count: number): Promise<readonly T[]> {
    await this.until(() => this.all.length >= count)
    return this.all
  }

  async until(holds: () => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = () => {
        if (!holds()) return
        this.#waiting.delete(check)
        resolve()
      }
      this.#waiting.add(check)
      check()
    })
  }
}

/** Its end, with or without an error; what still arrives is thrown away. */
export const closed = (socket: Duplex): Promise<void> =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.resume().once('close', () => resolve()))

export interface TestAgent {
  readonly self: Self
  readonly port: number
  readonly data: string
  readonly book: AddressBook
  readonly transport: RaftTransport
  readonly peers: PeerWire
  readonly listener: Listener
  readonly lines: Lines
  stop(): Promise<void>
}

export interface TestAgentOptions {
  readonly state?: ReadonlyMap<number, string>
  readonly credentials?: Credentials
  readonly port?: number
  readonly data?: string
  readonly handler?: RequestListener
  readonly transport?: Partial<RaftTransportOptions>
  readonly listener?: Partial<ListenerOptions>
  readonly admits?: (member: number) => boolean
  readonly self?: Partial<Self>
}

/** An agent's wire as it is put together in earnest, on a free port of the loopback. */
export async function startAgent(member: number, options: TestAgentOptions = {}): Promise<TestAgent> {
  const lines = new Lines()
  const data = options.data ?? (await scratchFolder())
  const state = options.state ?? new Map<number, string>()
  const credentials = options.credentials ?? (await credentialsOf(member))
  const address = { port: 0 }
  const self: Self = {
    cluster,
    member,
    credentials: () => credentials,
    advertised: () => `127.0.0.1:${address.port}`,
    ...options.self,
  }
  const book = await AddressBook.open({ data, state: () => state, log: lines.log })
  const shared = { self, addresses: book, log: lines.log }
  const transport = new RaftTransport({ ...shared, random: () => 0.5, ...options.transport })
  const admits = options.admits ? { admits: options.admits } : {}
  const nodeOf = (one: number) => `node-${one}`
  const memberOf = (node: string) => Number(node.slice('node-'.length))
  const peers = new PeerWire({ ...shared, nodeOf, memberOf, ...admits })
  const handler = options.handler ?? ((_, response) => void response.end('people'))
  const listener = new Listener({
    credentials: self.credentials(),
    cluster,
    http1: createServer(handler),
    http2: createHttp2Server(handler as Parameters<typeof createHttp2Server>[0]),
    wire: {
      [alpn.raft]: (socket, from) => transport.accept(socket, from),
      [alpn.snapshot]: (socket, from) => transport.acceptSnapshot(socket, from),
      [alpn.peer]: (socket, from) => peers.accept(socket, from),
    },
    log: lines.log,
    ...admits,
    ...options.listener,
  })
  address.port = await listener.listen('127.0.0.1', options.port ?? 0)
  const stop = async () => {
    await transport.close()
    await peers.close()
    await listener.close()
    await book.saved()
  }
  later(stop)
  return { self, port: address.port, data, book, transport, peers, listener, lines, stop }
}
