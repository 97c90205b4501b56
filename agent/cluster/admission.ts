import { text } from 'node:stream/consumers'
import {
  type Actor,
  type JoinReply,
  JoinReply as JoinReplySchema,
  JoinRequest,
  ProblemError,
} from '../../contract/index.ts'
import { currentOrigin, Origin, withOrigin } from './audit/origin.ts'
import type { Cluster } from './cluster.ts'
import { theCluster } from './state.ts'

/** What admission needs of the certificate authority. */
export interface Signer {
  /** Throws ProblemError `invalid_request` when the request is not a sound PKCS#10. */
  check(request: string): Promise<void>
  /** Certificate (PEM) of a member; only an agent that has the cluster key can sign. */
  sign(request: string, of: { member: number; name: string; address: string }): Promise<string>
  readonly sha256Of: (secret: string) => string
}

/** Where the host that wants to join asked. */
const originHeader = 'submarine-origin'
const system: Actor = { kind: 'system' }

/**
 * Lets a host with a valid join token in. Any agent takes the request; the leader, which is a voter and so has the
 * cluster key, spends the token and signs the certificate.
 */
export class Admission {
  readonly #cluster: Cluster
  readonly #signer: Signer

  constructor(cluster: Cluster, signer: Signer) {
    this.#cluster = cluster
    this.#signer = signer
    cluster.peers.serve('/admit', async (_from, request, response) => {
      const origin = Origin.safeParse(JSON.parse(String(request.headers[originHeader] ?? '{}')))
      const asked = JoinRequest.parse(JSON.parse(await text(request)))
      const reply = await withOrigin(origin.data ?? {}, () => this.#admitHere(asked))
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(reply))
    })
  }

  async admit(request: JoinRequest): Promise<JoinReply> {
    const { leader, isLeader } = this.#cluster.status()
    if (isLeader) return this.#admitHere(request)
    if (!leader) throw new ProblemError('no_leader')
    const { body } = await this.#cluster.peers.request(leader, {
      method: 'POST',
      path: '/admit',
      headers: { [originHeader]: JSON.stringify(currentOrigin() ?? {}) },
      body: JSON.stringify(request),
      timeoutMs: 15_000,
    })
    return JoinReplySchema.parse(JSON.parse(await text(body)))
  }

  async #admitHere(request: JoinRequest): Promise<JoinReply> {
    // Before the token is spent: a request that cannot be signed must not cost it.
    await this.#signer.check(request.request)
    const { name, address } = request
    const { member, node } = await this.#cluster.propose(
      { type: 'node.join', token_sha256: this.#signer.sha256Of(request.secret), name, address },
      system,
    )
    const certificate = await this.#signer.sign(request.request, { member, name, address })
    const { cluster, nodes } = this.#cluster.state()
    const row = cluster.get(theCluster)
    if (!row) throw new ProblemError('internal', 'the cluster has no record of itself')
    return {
      cluster: { id: row.id, name: row.name },
      member,
      node,
      certificate,
      ca: row.ca,
      ...(row.former_ca === undefined ? {} : { former_ca: row.former_ca }),
      peers: [...nodes.values()].map((peer) => ({ member: peer.member, address: peer.address })),
    }
  }
}
