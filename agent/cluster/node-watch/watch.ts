import { type Actor, ProblemError } from '../../../contract/index.ts'
import type { Cluster } from '../cluster.ts'
import type { Command } from '../commands.ts'
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
      for (const command of this.#due()) await this.#propose(command)
    } catch (error) {
      // Leadership was lost, or the log is full: whoever leads looks again with the next heartbeat.
      if (!(error instanceof ProblemError)) log.warn({ err: error }, 'the nodes could not be looked after')
    } finally {
      this.#busy = false
    }
  }

  #due(): Command[] {
    const { cluster, clock, now } = this.#options
    const state = cluster.state()
    const table = cluster.peers.liveness()
    return [...lossesDue(state, table), ...drainsDue(state, now()), ...this.#idle.look(state, table, clock())]
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
