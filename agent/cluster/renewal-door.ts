import type { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { bundle, certificatesIn, issuerOf, keyFingerprint, memberOf } from './identity/ca.ts'
import { nodeIdOf } from './rules/members.ts'
import type { ClusterSigner } from './signer.ts'
import { type ClusterRow, type State, theCluster } from './state.ts'
import type { Log, Self } from './wire/tls.ts'

interface Options {
  readonly self: Pick<Self, 'cluster'>
  readonly state: () => State
  readonly signer: Pick<ClusterSigner, 'renew'>
  readonly log: Log
}

const timeoutMs = 3_000
/** Callers on this door may show certificates that are good for nothing else. */
const mostCallers = 32

/** The authorities that count, the newest first. */
export const trustedBy = ({ ca, former_ca }: Pick<ClusterRow, 'ca' | 'former_ca'>): string =>
  bundle(ca, former_ca ?? '')

/** Of a member as this replica knows it; what it does not know stays as it is until the next renewal. */
export function placeOf(state: State, member: number): { member: number; name: string; address: string } {
  const { name = `member-${member}`, address = '' } = state.nodes.get(nodeIdOf(member)) ?? {}
  return { member, name, address }
}

/** Where members get a new certificate for their key (`Certificates`), whatever their old one is good for otherwise. */
export class RenewalDoor {
  readonly #options: Options
  #callers = 0

  constructor(options: Options) {
    this.#options = options
  }

  /** A caller on `alpn.renew`: it has proven to hold the key of the certificate it shows, and nothing more. */
  answer(socket: TLSSocket): void {
    if (this.#callers >= mostCallers) return void socket.destroy()
    this.#callers++
    socket.setTimeout(timeoutMs, () => socket.destroy())
    socket.once('close', () => this.#callers--)
    this.#sign(socket.getPeerX509Certificate()).then(
      (answer) => socket.end(JSON.stringify(answer)),
      (error: unknown) =>
        socket.end(JSON.stringify({ refused: error instanceof Error ? error.message : String(error) })),
    )
  }

  async #sign(cert: X509Certificate | undefined): Promise<{ certificate: string; ca: string }> {
    const { self, state, signer, log } = this.#options
    const row = state().cluster.get(theCluster)
    const named = cert && memberOf(cert)
    if (!cert || !row || named?.cluster !== self.cluster || !this.#knows(cert, row, named.member))
      throw new Error('no certificate of this cluster was shown')
    if (!state().nodes.has(nodeIdOf(named.member)))
      throw new Error(`member ${named.member} is not in the cluster`)
    const certificate = await signer.renew(cert.toString(), placeOf(state(), named.member))
    if (certificate === undefined)
      throw new Error('this agent has no cluster key and cannot sign certificates')
    log.info({ member: named.member }, 'signed a new certificate for a member')
    return { certificate, ca: trustedBy(row) }
  }

  /**
   * Its dates may be wrong, and an authority that counts no more may have signed it: whoever stole that one's key has not
   * the key that the member is known by, and the caller has proven to hold it.
   */
  #knows(cert: X509Certificate, row: ClusterRow, member: number): boolean {
    if (issuerOf(cert, certificatesIn(trustedBy(row))) !== undefined) return true
    return this.#options.state().nodes.get(nodeIdOf(member))?.certificate?.key === keyFingerprint(cert)
  }
}
