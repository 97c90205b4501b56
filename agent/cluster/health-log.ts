import { type Actor, ProblemError } from '../../contract/index.ts'
import type { Cluster } from './cluster.ts'
import type { Command } from './commands.ts'
import { theCluster } from './state.ts'
import { judgement } from './wire/judge.ts'

const system: Actor = { kind: 'system' }
/** A leader that lasts this long is told of: a row of failed elections is not. */
const steadyMs = 2_000
/** A new leader has heard nobody yet and takes all for alive; by then it knows who is not. */
const hearingMs = judgement.unreachableMs + 2_000
/** A node that comes and goes falls silent in the log at most so often. */
const flapMs = 60_000

interface Log {
  warn(fields: object, message: string): void
}

/** On the leader: writes into the log who leads, which node fell silent and which is back. Nothing but changes. */
export class HealthLog {
  readonly #cluster: Cluster
  readonly #log: Log
  readonly #clock: () => number
  readonly #returned = new Map<string, number>()
  readonly #unsubscribe: () => void
  #leadsSince: number | undefined
  #busy = false

  /** `clock`: milliseconds that never jump. */
  constructor(cluster: Cluster, log: Log, clock = () => performance.now()) {
    this.#cluster = cluster
    this.#log = log
    this.#clock = clock
    this.#unsubscribe = cluster.peers.onLiveness(() => void this.look())
  }

  stop(): void {
    this.#unsubscribe()
  }

  /** Woken by every heartbeat; never throws. */
  async look(): Promise<void> {
    if (!this.#cluster.status().isLeader) this.#leadsSince = undefined
    else this.#leadsSince ??= this.#clock()
    if (this.#busy || this.#leadsSince === undefined) return
    this.#busy = true
    try {
      for (const command of this.#news(this.#clock(), this.#leadsSince)) {
        await this.#cluster.propose(command, system)
        if (command.type === 'node.liveness' && !command.unreachable)
          this.#returned.set(command.node, this.#clock())
      }
    } catch (error) {
      // Written by whoever leads then, or with the next heartbeat.
      if (!(error instanceof ProblemError))
        this.#log.warn({ err: error }, 'a change of health was not written')
    } finally {
      this.#busy = false
    }
  }

  #news(now: number, leadsSince: number): Extract<Command, { type: 'cluster.lead' | 'node.liveness' }>[] {
    const { cluster, nodes } = this.#cluster.state()
    const self = this.#cluster.self.node
    const row = cluster.get(theCluster)
    const leads =
      row && row.leader !== self && now - leadsSince >= steadyMs
        ? [{ type: 'cluster.lead' as const, node: self }]
        : []
    const table = this.#cluster.peers.liveness()
    const changed = [...nodes.values()].flatMap(({ id, unreachable_since, inventory }) => {
      const { liveness, silent_ms } = table.get(id) ?? { liveness: 'unknown', silent_ms: null }
      const known = (unreachable_since ?? null) !== null
      const flaps = now - (this.#returned.get(id) ?? -flapMs) < flapMs
      // One that never reported is still on its way in.
      const fell = !known && liveness === 'unreachable' && inventory !== null && !flaps
      const back = known && liveness === 'ready' && now - leadsSince >= hearingMs
      if (!fell && !back) return []
      return [{ type: 'node.liveness' as const, node: id, unreachable: fell, silent_ms: silent_ms ?? 0 }]
    })
    return [...leads, ...changed]
  }
}
