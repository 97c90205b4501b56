import { parseAddress } from './identity/address.ts'
import { bundle, checkRequest, type Pair, renewNode, signNode } from './identity/ca.ts'
import { openEnvelope } from './identity/envelope.ts'
import { sha256Of } from './identity/seal.ts'
import { ProblemError } from '../../contract/index.ts'
import { isIP } from 'node:net'
import type { Signer } from './admission.ts'
import { caKeyContext } from './sealed.ts'
import { type State, theCluster } from './state.ts'

export { caKeyContext } from './sealed.ts'

/** Signs with the cluster's CA. Its key is in the replicated state, sealed; the cluster key that opens it only on voters. */
export class ClusterSigner implements Signer {
  readonly sha256Of = sha256Of
  readonly #state: () => State
  readonly #clusterKey: () => Buffer | undefined

  constructor(state: () => State, clusterKey: () => Buffer | undefined) {
    this.#state = state
    this.#clusterKey = clusterKey
  }

  check(request: string): Promise<void> {
    return checkRequest(request)
  }

  /** With the links after it by which whoever trusts an older authority follows. */
  async sign(request: string, of: { member: number; name: string; address: string }): Promise<string> {
    const authority = this.#authority()
    if (!authority)
      throw new ProblemError('no_leader', 'this agent has no cluster key and cannot sign certificates')
    const { links, ...by } = authority
    const names = { member: of.member, name: of.name, ips: ipsOf(of.address) }
    return bundle(await signNode({ ...by, request, ...names }), ...links)
  }

  /** The certificate once more; undefined where the cluster key is not. */
  async renew(
    cert: string,
    of: { member: number; name: string; address: string },
  ): Promise<string | undefined> {
    const authority = this.#authority()
    if (!authority) return undefined
    const { links, ...by } = authority
    const names = { member: of.member, name: of.name, ips: ipsOf(of.address) }
    return bundle(await renewNode(cert, { ...by, ...names }), ...links)
  }

  #authority(): { ca: Pair; cluster: string; links: readonly string[] } | undefined {
    const row = this.#state().cluster.get(theCluster)
    const key = this.#clusterKey()
    if (!row || !key) return undefined
    return {
      ca: { cert: row.ca, key: openEnvelope(key, row.sealed_ca_key, caKeyContext(row.id)) },
      cluster: row.id,
      links: row.ca_links ?? [],
    }
  }
}

/** IP addresses a certificate should name for an agent reached at `address`. */
export function ipsOf(address: string): string[] {
  const host = parseAddress(address)?.host
  return [...new Set([...(host && isIP(host) ? [host] : []), '127.0.0.1', '::1'])]
}
