import { text as textOf } from 'node:stream/consumers'
import { type Actor, ProblemError } from '../../contract/index.ts'
import { ask } from '../store/peer-io.ts'
import type { Cluster } from './cluster.ts'
import type { AuthorityCommand } from './commands/authority.ts'
import { fingerprint, succeedCa } from './identity/ca.ts'
import { sealEnvelope } from './identity/envelope.ts'
import type { KeyRing } from './identity/key-ring.ts'
import { caKeyContext } from './sealed.ts'
import { theCluster } from './state.ts'

type Rotate = Extract<AuthorityCommand, { type: 'authority.rotate' }>

interface Options {
  readonly cluster: Pick<Cluster, 'peers' | 'status' | 'state' | 'propose' | 'barrier'>
  readonly keys: Pick<KeyRing, 'current' | 'open'>
}

/**
 * Replaces the cluster's certificate authority. The leader, which has the cluster key, makes the new one and has the old
 * one vouch for it; one command brings it into use. A leader that dies before that leaves nothing behind. Each node
 * renews its certificate as soon as its state says so (`Certificates`), and with the last one the old authority goes.
 */
export class CaRotation {
  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
    options.cluster.peers.serve('/ca-rotation', async (_from, _request, response) => {
      response.end(JSON.stringify(await this.#prepare()))
    })
  }

  async rotate(actor: Actor): Promise<void> {
    const { cluster } = this.#options
    await cluster.barrier()
    await cluster.propose(await this.#prepared(), actor)
  }

  /** Ends the overlap, whoever has a certificate of the old authority. */
  async finish(actor: Actor): Promise<void> {
    await this.#options.cluster.propose({ type: 'authority.finish' }, actor)
  }

  async #prepared(): Promise<Rotate> {
    const { cluster } = this.#options
    const { leader, isLeader } = cluster.status()
    if (isLeader) return this.#prepare()
    if (!leader) throw new ProblemError('no_leader')
    const asked = { method: 'POST', path: '/ca-rotation', timeoutMs: 10_000 } as const
    return JSON.parse(await textOf((await ask(cluster.peers, leader, asked)).body)) as Rotate
  }

  async #prepare(): Promise<Rotate> {
    const { cluster, keys } = this.#options
    const row = cluster.state().cluster.get(theCluster)
    const clusterKey = keys.current()
    if (!row || !clusterKey || !cluster.status().isLeader)
      throw new ProblemError('no_leader', 'this agent has no cluster key, or does not lead any more')
    const context = caKeyContext(row.id)
    const { ca, link } = await succeedCa({ cert: row.ca, key: keys.open(row.sealed_ca_key, context) })
    return {
      type: 'authority.rotate',
      from: fingerprint(row.ca),
      ca: ca.cert,
      sealed_ca_key: sealEnvelope(clusterKey, ca.key, context),
      link,
    }
  }
}
