import { buffer } from 'node:stream/consumers'
import { ProblemError } from '../../contract/index.ts'
import { ask } from '../store/peer-io.ts'
import type { Cluster } from './cluster.ts'
import type { KeyRing } from './identity/key-ring.ts'

const keyBytes = 32
/** One is left behind by each rotation that came to nothing. */
const mostKeys = 100

/**
 * Gives the cluster keys to a learner that is about to become a voter, and a new one to all voters, over mutual TLS; only
 * the leader may, and the other has it on disk before it answers (docs/architecture.md, decision 11).
 */
export class KeyHandover {
  readonly #cluster: Pick<Cluster, 'peers' | 'status'>
  readonly #keys: KeyRing

  constructor(cluster: Pick<Cluster, 'peers' | 'status'>, keys: KeyRing) {
    this.#cluster = cluster
    this.#keys = keys
    cluster.peers.serve('/cluster-key', async (from, request, response) => {
      if (from !== cluster.status().leader)
        throw new ProblemError('forbidden', 'only the leader hands over the cluster key')
      const received = await buffer(request)
      const count = received.length / keyBytes
      if (!Number.isInteger(count) || count < 1 || count > mostKeys)
        throw new ProblemError('invalid_request', `a cluster key has ${keyBytes} bytes`)
      await keys.keep(
        Array.from({ length: count }, (_, at) => received.subarray(at * keyBytes, (at + 1) * keyBytes)),
      )
      response.writeHead(204).end()
    })
  }

  async give(node: string): Promise<void> {
    if (!this.#keys.current())
      throw new ProblemError('no_leader', 'this leader has no cluster key to hand over')
    const body = Buffer.concat(this.#keys.all())
    const answer = await ask(this.#cluster.peers, node, { method: 'PUT', path: '/cluster-key', body })
    answer.body.resume()
  }
}
