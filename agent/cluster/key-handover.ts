import { buffer } from 'node:stream/consumers'
import { ProblemError } from '../../contract/index.ts'
import type { Cluster } from './cluster.ts'

const keyBytes = 32

/**
 * Gives the cluster key to a learner that is about to become a voter, over mutual TLS; only the leader may, and the
 * learner has it on disk before it answers (docs/architecture.md, decision 11).
 */
export class KeyHandover {
  readonly #cluster: Cluster
  readonly #key: () => Buffer | undefined

  constructor(cluster: Cluster, key: () => Buffer | undefined, keep: (key: Buffer) => Promise<void>) {
    this.#cluster = cluster
    this.#key = key
    cluster.peers.serve('/cluster-key', async (from, request, response) => {
      if (from !== cluster.status().leader)
        throw new ProblemError('forbidden', 'only the leader hands over the cluster key')
      const received = await buffer(request)
      if (received.length !== keyBytes)
        throw new ProblemError('invalid_request', `a cluster key has ${keyBytes} bytes`)
      if (!key()?.equals(received)) await keep(received)
      response.writeHead(204).end()
    })
  }

  async give(node: string): Promise<void> {
    const body = this.#key()
    if (!body) throw new ProblemError('no_leader', 'this leader has no cluster key to hand over')
    const answer = await this.#cluster.peers.request(node, { method: 'PUT', path: '/cluster-key', body })
    answer.body.resume()
  }
}
