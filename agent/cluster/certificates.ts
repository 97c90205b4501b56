import { X509Certificate } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import {
  belongTogether,
  bundle,
  certificatesIn,
  type Credentials,
  fingerprint,
  isNewer,
  issuerOf,
  keyFingerprint,
} from './identity/ca.ts'
import { nodeIdOf } from './rules/members.ts'
import { placeOf, trustedBy } from './renewal-door.ts'
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
  /** Tells the cluster which certificate this node has; absent: it is not told. */
  readonly report?: (certificate: Held) => Promise<unknown>
  readonly log: Log
  /** Wall clock, ms: what certificates are about. */
  readonly now?: () => number
  readonly everyMs?: number
}

/** A certificate by the fingerprints of its key and of its authority. */
export interface Held {
  readonly key: string
  readonly ca: string
}

/** What holders of credentials are told of a change: `distrusts`, that an authority counts no more. */
export type Renewed = (credentials: Credentials, distrusts: boolean) => void

const pem = z.string().max(20_000)
/** `ca`: the authorities that count, the newest first; left out by agents from before there could be several. */
const Answer = z.union([
  z.object({ certificate: pem, ca: pem.optional() }),
  z.object({ refused: z.string() }),
])
const timeoutMs = 3_000

/**
 * This node's certificate, renewed when a third of its life is left or the cluster has a new authority. A voter has the
 * cluster key and signs for itself; others ask a voter, over a door of its own at which an expired certificate of a known
 * member will do, and one of an authority that counts no more, for the very key that the member is known by. Nothing of
 * it needs a quorum, so a lab that was switched off for longer than certificates last starts again.
 */
export class Certificates {
  readonly #options: Options
  readonly #now: () => number
  readonly #listeners = new Set<Renewed>()
  readonly #closing = new AbortController()
  #credentials: Credentials
  #onDisk: Credentials
  /** Somebody has a certificate of an authority that this node's state knows nothing of. */
  #outdated = false
  #telling = false
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  #again = false
  #failure = ''

  constructor(options: Options) {
    this.#options = options
    this.#now = options.now ?? Date.now
    const { ca, ...own } = options.credentials
    this.#credentials = { ...own, ca: bundle(ca) }
    this.#onDisk = this.#credentials
  }

  get current(): Credentials {
    return this.#credentials
  }

  onRenewed(listener: Renewed): void {
    this.#listeners.add(listener)
  }

  /** Another member showed a certificate of an authority that is vouched for, but not known here. */
  metNewer(): void {
    if (this.#outdated) return
    this.#outdated = true
    void this.look()
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
    // What changed since the one that is under way began is looked at after it.
    if (this.#looking) this.#again = true
    this.#looking ??= this.#lookUntilDone().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  async #lookUntilDone(): Promise<void> {
    do {
      this.#again = false
      await this.#look()
    } while (this.#again && !this.#closing.signal.aborted)
  }

  async #look(): Promise<void> {
    this.#trustAsTold()
    const { log } = this.#options
    try {
      if (this.#isDue()) await this.#renew()
      // Until there was another certificate the old one's authority had to stay, for this folder to open.
      if (this.#forDisk(this.#credentials).ca !== this.#onDisk.ca) await this.#save(this.#credentials)
      this.#tell()
      this.#failure = ''
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

  /** What counts is the replicated state's to say, but for a node that was away: that heard of what came after at a door. */
  #trustAsTold(): void {
    const row = this.#options.state().cluster.get(theCluster)
    const [newest] = certificatesIn(this.#credentials.ca)
    if (!row || newest === undefined || isNewer(newest, row.ca)) return
    const ca = trustedBy(row)
    if (ca === this.#credentials.ca) return
    this.#outdated = false
    this.#use({ ...this.#credentials, ca })
  }

  #isDue(): boolean {
    const { ca, cert } = this.#credentials
    const isOfNewest = issuerOf(cert, certificatesIn(ca).slice(0, 1)) !== undefined
    return this.#outdated || !isOfNewest || isDue(cert, this.#now())
  }

  async #renew(): Promise<void> {
    const { cert, ca = this.#credentials.ca } = await this.#renewed()
    const next = { ...this.#credentials, cert, ca: this.#withNewer(ca) }
    const [newest = ''] = certificatesIn(next.ca)
    if (!belongTogether({ ...next, ca: newest }))
      throw new Error('the new certificate is not for this key and the newest authority')
    await this.#save(next)
    this.#outdated = false
    this.#use(next)
    this.#options.log.info(
      { expires: new X509Certificate(cert).validTo },
      'the certificate of this node was renewed',
    )
  }

  /** What another agent says that counts: only what is newer is news. */
  #withNewer(told: string): string {
    const [held = ''] = certificatesIn(this.#credentials.ca)
    const [newest] = certificatesIn(told)
    return newest !== undefined && isNewer(newest, held)
      ? bundle(told, this.#credentials.ca)
      : this.#credentials.ca
  }

  #use(next: Credentials): void {
    const now = new Set(certificatesIn(next.ca))
    const distrusts = certificatesIn(this.#credentials.ca).some((ca) => !now.has(ca))
    this.#credentials = next
    for (const listener of this.#listeners) listener(next, distrusts)
  }

  /** On the disk the authority of the certificate that is there stays beside it. */
  #forDisk(next: Credentials): Credentials {
    const { ca, cert } = this.#onDisk
    return { ...next, ca: bundle(next.ca, issuerOf(cert, certificatesIn(ca)) ?? '') }
  }

  async #save(next: Credentials): Promise<void> {
    const kept = this.#forDisk(next)
    await this.#options.keep(kept)
    this.#onDisk = kept
  }

  /** The cluster waits for this before it forgets the former authority. Without a majority it is told later. */
  #tell(): void {
    const { state, self, report, log } = this.#options
    const { ca, cert } = this.#credentials
    const issuer = issuerOf(cert, certificatesIn(ca))
    const row = state().nodes.get(nodeIdOf(self.member))
    if (!report || this.#telling || !row || issuer === undefined) return
    const held = { key: keyFingerprint(cert), ca: fingerprint(issuer) }
    if (row.certificate?.key === held.key && row.certificate.ca === held.ca) return
    this.#telling = true
    report(held)
      .catch((error: unknown) => log.debug({ error: String(error) }, 'the certificate could not be told'))
      .finally(() => (this.#telling = false))
  }

  async #renewed(): Promise<{ cert: string; ca?: string | undefined }> {
    const { self, signer, state, voters } = this.#options
    const own = this.#outdated
      ? undefined
      : await signer.renew(this.#credentials.cert, placeOf(state(), self.member))
    if (own !== undefined) return { cert: own }
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

  async #ask(member: number): Promise<{ cert: string; ca?: string | undefined }> {
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
      const { certificate: cert, ca = this.#credentials.ca } = answer
      if (issuerOf(cert, certificatesIn(this.#withNewer(ca)).slice(0, 1)) === undefined)
        throw new Error('it does not know the newest authority yet')
      return { cert, ca }
    } finally {
      signal.removeEventListener('abort', end)
      socket.destroy()
    }
  }
}

/** Is less than a third of its life left? */
function isDue(pem: string, now: number): boolean {
  const { validFromDate, validToDate } = new X509Certificate(pem)
  // What was renewed begins with its authority: its life is a year all the same.
  const life = Math.min(validToDate.getTime() - validFromDate.getTime(), 365 * 24 * 3_600_000)
  return validToDate.getTime() - now < life / 3
}
