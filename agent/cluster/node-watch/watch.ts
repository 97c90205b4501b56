import { type Actor, ProblemError } from '../../../contract/index.ts'
import type { Cluster, NodeLiveness } from '../cluster.ts'
import type { Command } from '../commands.ts'
import type { State } from '../state.ts'
import { drainsDue } from './drains.ts'
import { IdleWatch } from './idle.ts'
import { lossesDue } from './losses.ts'

const system: Actor = { kind: 'system' }

interface Log {
  warn(fields: object, message: string): void
}

export interface NodeWatchOptions {
  readonly cluster: Cluster
  readonly log: Log
  /** For how long, ms, a majority of the voters is sure not to have renewed this node's leases. */
  readonly sinceRenewed: (node: string) => Promise<number>
  /** Milliseconds on a clock that never jumps. */
  readonly clock?: () => number
  /** Wall clock, ms: for what people gave a time of. */
  readonly now?: () => number
}

/** On the leader: gives up what silent nodes ran, empties nodes that are drained, notices GPUs that do nothing. */
export class NodeWatch {
  readonly #options: Required<NodeWatchOptions>
  readonly #unsubscribe: () => void
  #idle = new IdleWatch()
  #busy = false

  constructor(options: NodeWatchOptions) {
    this.#options = { clock: () => performance.now(), now: Date.now, ...options }
    this.#unsubscribe = options.cluster.peers.onLiveness(() => void this.look())
  }

  stop(): void {
    this.#unsubscribe()
  }

  /** Woken by every heartbeat; never throws. */
  async look(): Promise<void> {
    const { cluster, log } = this.#options
    if (!cluster.status().isLeader) {
      this.#idle = new IdleWatch()
      return
    }
    if (this.#busy) return
    this.#busy = true
    try {
      for (const command of await this.#due()) await this.#propose(command)
    } catch (error) {
      // Leadership was lost, or the log is full: whoever leads looks again with the next heartbeat.
      if (!(error instanceof ProblemError)) log.warn({ err: error }, 'the nodes could not be looked after')
    } finally {
      this.#busy = false
    }
  }

  async #due(): Promise<Command[]> {
    const { cluster, clock, now } = this.#options
    const state = cluster.state()
    const table = cluster.peers.liveness()
    const losses = await this.#losses(state, table)
    return [...losses, ...drainsDue(state, now()), ...this.#idle.look(state, table, clock())]
  }

  /** Leases that are over as far as this leader heard may have been renewed while it was out of touch. */
  async #losses(state: State, table: ReadonlyMap<string, NodeLiveness>): Promise<Command[]> {
    const doubtful = new Set<string>()
    const losses = lossesDue(state, table, (node) => (doubtful.add(node), 0))
    if (!doubtful.size) return losses
    const { sinceRenewed } = this.#options
    const ask = async (node: string) => [node, await sinceRenewed(node)] as const
    const unrenewed = new Map(await Promise.all([...doubtful].map(ask)))
    return lossesDue(state, table, (node) => unrenewed.get(node) ?? 0)
  }

  /** One that came too late says nothing about the others. */
  async #propose(command: Command): Promise<void> {
    try {
      await this.#options.cluster.propose(command, system)
    } catch (error) {
      const late =
        error instanceof ProblemError && ['stale_attempt', 'conflict', 'not_found'].includes(error.code)
      if (!late) throw error
    }
  }
}
