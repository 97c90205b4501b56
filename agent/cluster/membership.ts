import type { RaftDriver } from '../../raft/index.ts'
import type { Cluster } from './cluster.ts'
import { nodeIdOf } from './rules/members.ts'
import { nextChange } from './voters.ts'

/** How far a learner may be behind the leader's log to be promoted, entries. */
const nearlyAll = 100
const lookEveryMs = 500

interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** On the leader: makes raft's membership follow the nodes of the cluster, one change at a time. */
export class Membership {
  readonly #cluster: Cluster
  readonly #raft: RaftDriver
  readonly #handOverKey: (node: string) => Promise<void>
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  #busy = false

  /** `handOverKey` gives a learner the cluster key; it must have it on disk before it may become a voter. */
  constructor(cluster: Cluster, raft: RaftDriver, handOverKey: (node: string) => Promise<void>, log: Log) {
    this.#cluster = cluster
    this.#raft = raft
    this.#handOverKey = handOverKey
    this.#log = log
    this.#timer = setInterval(() => void this.#look(), lookEveryMs)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    const status = this.#raft.status()
    if (this.#busy || status.role !== 'leader') return
    this.#busy = true
    try {
      const nodes = [...this.#cluster.state().nodes.values()].map(({ member }) => ({
        member,
        ready: this.#ready(member),
      }))
      const change = nextChange(nodes, status.conf)
      if (!change) return
      for (const { type, id } of change.changes) if (type === 'voter') await this.#handOverKey(nodeIdOf(id))
      const conf = await this.#raft.changeMembers(change)
      this.#log.info({ voters: conf.voters, learners: conf.learners }, 'membership changed')
    } catch (error) {
      // The learner is away, or leadership was lost: looked at again in a moment.
      this.#log.warn({ err: error }, 'membership change was not made')
    } finally {
      this.#busy = false
    }
  }

  #ready(member: number): boolean {
    const { progress, commit } = this.#raft.status()
    const learner = progress.get(member)
    return !!learner?.recentActive && learner.match + nearlyAll >= commit
  }
}
