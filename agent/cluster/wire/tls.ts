import type { X509Certificate } from 'node:crypto'
import { connect, type TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { tlsEndpoint } from '../identity/address.ts'
import { certificatesIn, type Credentials, issuerOf, memberOf } from '../identity/ca.ts'

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>

/** What agents speak with each other; told apart from people's HTTP by ALPN on the same port. */
export const alpn = {
  raft: 'submarine-raft/1',
  snapshot: 'submarine-snapshot/1',
  peer: 'submarine-peer/1',
  /** Open to expired certificates, and for nothing but new ones. */
  renew: 'submarine-renew/1',
} as const
export type WireProtocol = (typeof alpn)[keyof typeof alpn]

/** Who this agent is on the wire. */
export interface Self {
  readonly cluster: string
  readonly member: number
  /** Read at each connection, so that a renewed certificate counts at once. */
  readonly credentials: () => Credentials
  /** HOST:PORT under which the others reach this agent now. */
  readonly advertised: () => string
  /** The connections that this agent made. */
  readonly dialled?: Set<TLSSocket>
  /** Another member has a certificate of an authority that is vouched for, but not known by itself. */
  readonly metNewer?: () => void
}

/** The member on the other side, proven by its certificate, or why it is nobody this cluster talks to. */
export type Proof = { readonly member: number } | { readonly refused: string }

/** Looked at once: on the side that dialled, Node gives the peer's certificate away the first time it is asked. */
const shown = new WeakMap<TLSSocket, X509Certificate>()

export function proofOf(socket: TLSSocket, cluster: string): Proof {
  const cert = socket.getPeerX509Certificate()
  if (!cert) return { refused: 'it showed no certificate' }
  // Declared an Error, in fact the error's code.
  const why = String(socket.authorizationError)
  if (!socket.authorized) return { refused: `its certificate is not of this cluster's authority (${why})` }
  // A resumed session is not verified anew, so dates are looked at here.
  if (cert.validToDate.getTime() <= Date.now()) return { refused: 'its certificate has expired' }
  const named = memberOf(cert)
  if (!named) return { refused: 'its certificate names no member' }
  if (named.cluster !== cluster) return { refused: `it belongs to another cluster (${named.cluster})` }
  shown.set(socket, cert)
  return { member: named.member }
}

/** An authority counts no more, and connections outlive the trust that let them in: what present ones did not sign ends. */
export function dropDistrusted(sockets: Iterable<TLSSocket>, { ca }: Credentials): void {
  const trusted = certificatesIn(ca)
  for (const socket of sockets) {
    const cert = shown.get(socket)
    if (cert && issuerOf(cert, trusted) === undefined) socket.destroy()
  }
}

export interface Target {
  readonly member: number
  readonly protocol: WireProtocol
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

/** Connect to the first of the addresses where that member answers. Throws with the reason of each. */
export async function dial(self: Self, addresses: readonly string[], target: Target): Promise<TLSSocket> {
  const reasons: string[] = []
  for (const address of addresses) {
    target.signal?.throwIfAborted()
    try {
      return await dialOne(self, address, target)
    } catch (error) {
      reasons.push(`${address}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  throw new Error(reasons.join('; ') || 'no address of it is known')
}

async function dialOne(self: Self, address: string, target: Target): Promise<TLSSocket> {
  const socket = connect({
    ...tlsEndpoint(address),
    ...self.credentials(),
    ALPNProtocols: [target.protocol],
    minVersion: 'TLSv1.3',
    // Members are known by their certificate, below, and never by an address.
    checkServerIdentity: () => undefined,
  })
  socket.setNoDelay(true).setKeepAlive(true, 5_000)
  // Whoever takes the socket over listens for its end; a reset before that is no reason to end the agent.
  socket.on('error', () => undefined)
  try {
    await secured(socket, target)
    const proof = proofOf(socket, self.cluster)
    if ('refused' in proof) throw new Error(`refused, ${proof.refused}`)
    if (proof.member !== target.member)
      throw new Error(`refused, member ${proof.member} answers there, not ${target.member}`)
    if (socket.alpnProtocol !== target.protocol) throw new Error(`it does not speak ${target.protocol}`)
    keep(self, socket)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function keep({ dialled, metNewer, credentials }: Self, socket: TLSSocket): void {
  dialled?.add(socket)
  socket.once('close', () => dialled?.delete(socket))
  const cert = shown.get(socket)
  if (metNewer && cert && issuerOf(cert, certificatesIn(credentials().ca)) === undefined) metNewer()
}

function secured(socket: TLSSocket, { timeoutMs, signal }: Target): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      settle()
      reject(error)
    }
    const aborted = () => failed(new Error('aborted', { cause: signal?.reason }))
    const closed = () => failed(new Error('closed during the handshake'))
    const ready = () => {
      settle()
      resolve()
    }
    const timer = setTimeout(() => failed(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', aborted)
      socket.off('secureConnect', ready).off('error', failed).off('close', closed)
    }
    signal?.addEventListener('abort', aborted)
    socket.once('secureConnect', ready).once('error', failed).once('close', closed)
  })
}
