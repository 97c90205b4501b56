import { text as textOf } from 'node:stream/consumers'
import { type Actor, ProblemError } from '../../contract/index.ts'
import { ask } from '../store/peer-io.ts'
import type { Cluster } from './cluster.ts'
import type { SecretCommand } from './commands/secrets.ts'
import { keyId, rewrap } from './identity/envelope.ts'
import type { KeyRing } from './identity/key-ring.ts'
import { newClusterKey } from './identity/seal.ts'
import type { KeyHandover } from './key-handover.ts'
import { nodeIdOf } from './rules/members.ts'
import { type Rewrapped, sealedDigest, sealedIn } from './sealed.ts'
import { theCluster } from './state.ts'

type Rotate = Extract<SecretCommand, { type: 'clusterKey.rotate' }>

interface Options {
  readonly cluster: Pick<Cluster, 'self' | 'peers' | 'status' | 'state' | 'propose' | 'barrier'>
  readonly keys: KeyRing
  readonly handover: Pick<KeyHandover, 'give'>
  /** No voter is made between its having the keys and the new one's being among them. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>
}

const attempts = 3
/** Every voter writes to its disk. */
const prepareMs = 30_000

/**
 * Replaces the cluster key. All voters have the new one on disk before anything is wrapped by it, and one command wraps
 * everything: a leader that dies in between leaves a key that nobody uses, and the whole is done again.
 */
export class KeyRotation {
  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
    options.cluster.peers.serve('/key-rotation', async (_from, _request, response) => {
      response.end(JSON.stringify(await this.#prepare()))
    })
  }

  async rotate(actor: Actor): Promise<void> {
    const { cluster } = this.#options
    for (let attempt = 1; ; attempt++) {
      await cluster.barrier()
      try {
        await cluster.propose(await this.#prepared(), actor)
        return
      } catch (error) {
        // Somebody changed a secret just now.
        const again = error instanceof ProblemError && error.code === 'conflict' && attempt < attempts
        if (!again) throw error
      }
    }
  }

  async #prepared(): Promise<Rotate> {
    const { cluster } = this.#options
    const { leader, isLeader } = cluster.status()
    if (isLeader) return this.#prepare()
    if (!leader) throw new ProblemError('no_leader')
    const asked = { method: 'POST', path: '/key-rotation', timeoutMs: prepareMs } as const
    return JSON.parse(await textOf((await ask(cluster.peers, leader, asked)).body)) as Rotate
  }

  /** On the leader: a new key that all voters have, and the command that brings it into use. */
  #prepare(): Promise<Rotate> {
    const { keys, alone } = this.#options
    return alone(async () => {
      const old = keys.current()
      if (!old || !this.#options.cluster.status().isLeader)
        throw new ProblemError('no_leader', 'this agent has no cluster key, or does not lead any more')
      const key = newClusterKey()
      await keys.keep([key])
      await this.#handOver()
      return this.#command(old, key)
    })
  }

  async #handOver(): Promise<void> {
    const { cluster, handover } = this.#options
    const { voters, leaving } = cluster.status()
    for (const node of new Set([...voters, ...leaving].map(nodeIdOf))) {
      if (node === cluster.self.node) continue
      await handover.give(node).catch((cause: unknown) => {
        const name = cluster.state().nodes.get(node)?.name ?? node
        const why = cause instanceof Error ? cause.message : String(cause)
        throw new ProblemError(
          'node_unreachable',
          `${name} is a voter and did not take the new key: ${why}`,
          {
            cause,
            hint: 'Nothing was changed. All voters must be up; start that agent, or remove the node.',
          },
        )
      })
    }
  }

  #command(old: Buffer, key: Buffer): Rotate {
    const { cluster, keys } = this.#options
    const state = cluster.state()
    const texts = [...sealedIn(state)].map(({ table, id, context, sealed }): Rewrapped => {
      try {
        return { table, id, from: sealedDigest(sealed), ...rewrap(old, key, sealed, context) }
      } catch (cause) {
        throw new ProblemError('conflict', `${table} ${id} cannot be opened by the cluster key in use`, {
          cause,
          hint: 'It was sealed by a key that is lost. Set it again or delete it, then rotate the key.',
        })
      }
    })
    const from = state.cluster.get(theCluster)?.key
    if (keys.current() !== old)
      throw new ProblemError('conflict', 'another cluster key came into use meanwhile')
    return { type: 'clusterKey.rotate', key: keyId(key), texts, ...(from === undefined ? {} : { from }) }
  }
}

interface Log {
  warn(fields: object, message: string): void
}

/** A key that is in use no more leaves this member's disk, as soon as its state says so. */
export function keepCurrent(cluster: Pick<Cluster, 'onApplied'>, keys: KeyRing, log: Log): void {
  const drop = () =>
    void keys.dropOld().catch((err: unknown) => log.warn({ err }, 'the old cluster key is still on the disk'))
  drop()
  cluster.onApplied(({ changed, restored }) => {
    if (restored || changed.has('cluster')) drop()
  })
}
