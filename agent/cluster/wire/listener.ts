import { once } from 'node:events'
import type { Server } from 'node:http'
import type { Http2Server } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls'
import { bundle, certificatesIn, type Credentials } from '../identity/ca.ts'
import { alpn, dropDistrusted, type Log, proofOf, type WireProtocol } from './tls.ts'

type ProvenProtocol = Exclude<WireProtocol, typeof alpn.renew>

/** Takes a socket whose other side is proven to be that member of this cluster. */
export type Accept = (socket: TLSSocket, member: number) => void

export interface ListenerOptions {
  readonly credentials: Credentials
  readonly cluster: string
  /** Made with `http.createServer` and `http2.createServer`; neither listens itself. */
  readonly http1: Server
  readonly http2: Http2Server
  readonly wire: Readonly<Record<ProvenProtocol, Accept>>
  /** Whoever comes to renew a certificate: nothing is proven of them but that they hold its key. */
  readonly renew?: (socket: TLSSocket) => void
  /** Is it (still) a member? A certificate outlives its owner's removal. The peer wire tells it so, the others drop it. */
  readonly admits?: (member: number) => boolean
  readonly log: Log
  readonly handshakeTimeoutMs?: number
  readonly maxSocketsPerMember?: number
}

/**
 * The agent's one port: people's HTTP/1.1 and HTTP/2 and the agents' own protocols, told apart by ALPN. People show
 * no certificate; on the wire protocols, a socket that cannot prove its member is dropped before a byte of it is read.
 */
export class Listener {
  readonly #options: ListenerOptions
  readonly #server: TlsServer
  readonly #sockets = new Set<Socket>()
  readonly #members = new Map<number, Set<TLSSocket>>()
  readonly #refusals = new Map<string, string>()

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#server = createServer(
      {
        ...secureContext(options.credentials),
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: [...Object.values(alpn), 'h2', 'http/1.1'],
        handshakeTimeout: options.handshakeTimeoutMs ?? 10_000,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 5_000,
      },
      (socket) => this.#dispatch(socket),
    )
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('tlsClientError', (error, socket) => {
      // A handshake that takes too long is only reported; the socket would stay.
      socket.destroy()
      options.log.debug({ error: error.message, remote: socket.remoteAddress }, 'TLS handshake failed')
    })
  }

  /** Resolves to the port. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen(port, host)
    await once(this.#server, 'listening')
    // Node enforces its limits for slow headers from this event on; the HTTP server itself never listens.
    this.#options.http1.emit('listening')
    this.#server.on('error', (error: Error) =>
      this.#options.log.error({ error: error.message }, 'listener failed'),
    )
    return (this.#server.address() as AddressInfo).port
  }

  /** New connections get the renewed certificate; those that stand are kept. */
  reload(credentials: Credentials): void {
    this.#server.setSecureContext(secureContext(credentials))
  }

  /** An authority counts no more: the members' connections that rest on it end. */
  distrust(credentials: Credentials): void {
    for (const open of this.#members.values()) dropDistrusted(open, credentials)
  }

  /** The member was removed: its connections end, also those that are still saying hello. */
  forget(member: number): void {
    for (const socket of this.#members.get(member) ?? []) socket.destroy()
    this.#members.delete(member)
  }

  /** How many connections a member has open. */
  open(member: number): number {
    return this.#members.get(member)?.size ?? 0
  }

  /** Stops listening and drops every connection. The HTTP servers stay the caller's. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #dispatch(socket: TLSSocket): void {
    // Until somebody takes the socket over; a reset is no reason to end the agent.
    socket.on('error', () => undefined)
    const { http1, http2, renew } = this.#options
    if (socket.alpnProtocol === alpn.renew) {
      if (renew) renew(socket)
      else socket.destroy()
    } else if (isWire(socket.alpnProtocol)) this.#admit(socket, socket.alpnProtocol)
    else if (socket.alpnProtocol === 'h2') http2.emit('connection', socket)
    else http1.emit('connection', socket)
  }

  #admit(socket: TLSSocket, protocol: ProvenProtocol): void {
    const { cluster, admits, wire } = this.#options
    const proof = proofOf(socket, cluster)
    if ('refused' in proof) return this.#refuse(socket, protocol, proof.refused)
    const { member } = proof
    if (protocol !== alpn.peer && admits && !admits(member))
      return this.#refuse(socket, protocol, `member ${member} is not in the cluster`)
    const open = this.#members.get(member) ?? new Set()
    if (open.size >= (this.#options.maxSocketsPerMember ?? 512))
      return this.#refuse(socket, protocol, `member ${member} has ${open.size} connections open`)
    this.#members.set(member, open.add(socket))
    socket.once('close', () => open.delete(socket))
    wire[protocol](socket, member)
  }

  #refuse(socket: TLSSocket, protocol: WireProtocol, reason: string): void {
    const remote = socket.remoteAddress ?? 'unknown'
    socket.destroy()
    // It will try again and again: said once, until the reason changes.
    if (this.#refusals.get(remote) === reason) return
    if (this.#refusals.size > 1000) this.#refusals.clear()
    this.#refusals.set(remote, reason)
    this.#options.log.warn({ remote, protocol, reason }, 'refused a connection from another agent')
  }
}

/**
 * The chain that is shown holds the CA too: a host that joins knows the cluster by the CA's hash alone. It comes last:
 * to whoever trusts an older one alone, a path that ends there would end too early.
 */
const secureContext = ({ ca, cert, key }: Credentials) =>
  ({ ca, cert: bundle(cert, certificatesIn(ca)[0] ?? ''), key, minVersion: 'TLSv1.3' }) as const

const proven: ReadonlySet<unknown> = new Set([alpn.raft, alpn.snapshot, alpn.peer])
const isWire = (name: unknown): name is ProvenProtocol => proven.has(name)
