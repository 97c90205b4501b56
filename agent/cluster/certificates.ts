import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { belongTogether, type Credentials, memberOf } from './identity/ca.ts'
import { nodeIdOf } from './rules/members.ts'
import type { ClusterSigner } from './signer.ts'
import { type State, theCluster } from './state.ts'
import type { AddressBook } from './wire/address-book.ts'
import { alpn, dial, type Log, type Self } from './wire/tls.ts'

interface Options {
  readonly credentials: Credentials
  readonly self: Pick<Self, 'cluster' | 'member'>
  readonly state: () => State
  /** Members that may have the cluster key, the likeliest first. */
  readonly voters: () => readonly number[]
  readonly addresses: Pick<AddressBook, 'of'>
  readonly signer: Pick<ClusterSigner, 'renew'>
  /** On disk before it is used. */
  readonly keep: (credentials: Credentials) => Promise<void>
  readonly log: Log
  /** Wall clock, ms: what certificates are about. */
  readonly now?: () => number
  readonly everyMs?: number
}

const Answer = z.union([z.object({ certificate: z.string().max(20_000) }), z.object({ refused: z.string() })])
const timeoutMs = 3_000
/** Callers on this door may show certificates that are good for nothing else. */
const mostCallers = 32

/**
 * This node's certificate, renewed when a third of its life is left. A voter has the cluster key and signs for itself;
 * others ask a voter, over a door of its own at which an expired certificate of a known member will do. Nothing of it
 * needs a quorum, so a lab that was switched off for longer than certificates last starts again.
 */
export class Certificates {
  readonly #options: Options
  readonly #now: () => number
  readonly #listeners = new Set<(credentials: Credentials) => void>()
  readonly #closing = new AbortController()
  #credentials: Credentials
  #callers = 0
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  #failure = ''

  constructor(options: Options) {
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#credentials = options.credentials
  }

  get current(): Credentials {
    return this.#credentials
  }

  onRenewed(listener: (credentials: Credentials) => void): void {
    this.#listeners.add(listener)
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), this.#options.everyMs ?? 5_000)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#closing.abort()
  }

  /** Renew it if that is due; never throws, for it is tried again. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  async #look(): Promise<void> {
    if (!isDue(this.#credentials.cert, this.#now())) return
    const { log, keep } = this.#options
    try {
      const cert = await this.#renewed()
      const next = { ...this.#credentials, cert }
      if (!belongTogether(next)) throw new Error('the new certificate is not for this key and authority')
      await keep(next)
      this.#credentials = next
      this.#failure = ''
      for (const listener of this.#listeners) listener(next)
      log.info({ expires: new X509Certificate(cert).validTo }, 'the certificate of this node was renewed')
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (reason === this.#failure) return
      this.#failure = reason
      const { validTo } = new X509Certificate(this.#credentials.cert)
      log.warn(
        { reason, expires: validTo },
        'the certificate of this node could not be renewed; it is tried again',
      )
    }
  }

  async #renewed(): Promise<string> {
    const { self, signer, voters } = this.#options
    const own = await signer.renew(this.#credentials.cert, this.#placeOf(self.member))
    if (own !== undefined) return own
    const reasons: string[] = []
    for (const member of voters()) {
      if (member === self.member) continue
      try {
        return await this.#ask(member)
      } catch (error) {
        reasons.push(`member ${member}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    throw new Error(reasons.join('; ') || 'no voter is known')
  }

  async #ask(member: number): Promise<string> {
    const { self, addresses } = this.#options
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(timeoutMs)])
    const target = { member, protocol: alpn.renew, timeoutMs, signal }
    const credentials = () => this.#credentials
    const socket = await dial(
      { ...self, credentials, advertised: () => '' },
      await addresses.of(member),
      target,
    )
    const end = () => socket.destroy()
    signal.addEventListener('abort', end)
    try {
      const answer = Answer.parse(JSON.parse(await text(socket)))
      if ('refused' in answer) throw new Error(answer.refused)
      return answer.certificate
    } finally {
      signal.removeEventListener('abort', end)
      socket.destroy()
    }
  }

  /** A caller on `alpn.renew`: it has proven to hold the key of the certificate it shows, and nothing more. */
  answer(socket: TLSSocket): void {
    if (this.#callers >= mostCallers) return void socket.destroy()
    this.#callers++
    socket.setTimeout(timeoutMs, () => socket.destroy())
    socket.once('close', () => this.#callers--)
    this.#sign(socket.getPeerX509Certificate()).then(
      (certificate) => socket.end(JSON.stringify({ certificate })),
      (error: unknown) =>
        socket.end(JSON.stringify({ refused: error instanceof Error ? error.message : String(error) })),
    )
  }

  async #sign(cert: X509Certificate | undefined): Promise<string> {
    const { self, state, signer, log } = this.#options
    const ca = state().cluster.get(theCluster)?.ca
    const named = cert && memberOf(cert)
    const issuer = ca === undefined ? undefined : new X509Certificate(ca)
    // Its dates are the only thing about it that may be wrong.
    const isOurs = issuer && cert?.checkIssued(issuer) && cert.verify(issuer.publicKey)
    if (!cert || !isOurs || named?.cluster !== self.cluster)
      throw new Error('no certificate of this cluster was shown')
    if (!state().nodes.has(nodeIdOf(named.member)))
      throw new Error(`member ${named.member} is not in the cluster`)
    const renewed = await signer.renew(cert.toString(), this.#placeOf(named.member))
    if (renewed === undefined) throw new Error('this agent has no cluster key and cannot sign certificates')
    log.info({ member: named.member }, 'signed a new certificate for a member')
    return renewed
  }

  #placeOf(member: number): { member: number; name: string; address: string } {
    const { name = `member-${member}`, address = '' } =
      this.#options.state().nodes.get(nodeIdOf(member)) ?? {}
    return { member, name, address }
  }
}

/** Is less than a third of its life left? */
function isDue(pem: string, now: number): boolean {
  const { validFromDate, validToDate } = new X509Certificate(pem)
  // What was renewed begins with its authority: its life is a year all the same.
  const life = Math.min(validToDate.getTime() - validFromDate.getTime(), 365 * 24 * 3_600_000)
  return validToDate.getTime() - now < life / 3
}
