import type { Cluster } from './cluster.ts'
import { nodeIdOf } from './rules/members.ts'
import { theCluster } from './state.ts'

/**
 * Who belongs to the cluster. A certificate outlives its owner's removal; ids are never used again, so one that was
 * handed out and is neither a node nor a member of raft any more is gone for good.
 */
export class Roster {
  readonly #cluster: Pick<Cluster, 'state' | 'status'>
  readonly #listeners = new Set<(member: number) => void>()
  readonly #gone = new Set<number>()

  constructor(cluster: Pick<Cluster, 'state' | 'status' | 'onApplied' | 'onStatus'>) {
    this.#cluster = cluster
    cluster.onApplied(({ changed }) => {
      if (changed.has('nodes')) this.#look()
    })
    cluster.onStatus(() => this.#look())
    this.#look()
  }

  /**
   * Until raft's membership is changed too, a removed member is still heard: its word may be needed for that change.
   * One this replica has not heard of yet may have joined a moment ago.
   */
  admits(member: number): boolean {
    const { nodes, cluster } = this.#cluster.state()
    if (nodes.has(nodeIdOf(member)) || member >= (cluster.get(theCluster)?.next_member ?? 0)) return true
    const { voters, learners, leaving } = this.#cluster.status()
    return [...voters, ...learners, ...leaving].includes(member)
  }

  /** Called once for each member that is gone. */
  onGone(listener: (member: number) => void): void {
    this.#listeners.add(listener)
    for (const member of this.#gone) listener(member)
  }

  #look(): void {
    const next = this.#cluster.state().cluster.get(theCluster)?.next_member ?? 0
    for (let member = 1; member < next; member++) {
      if (this.#gone.has(member) || this.admits(member)) continue
      this.#gone.add(member)
      for (const listener of this.#listeners) listener(member)
    }
  }
}
