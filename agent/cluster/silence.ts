import type { NodeId } from '../../raft/index.ts'

/**
 * For how long the leader has heard nothing of each member. Time is added up look by look, so that a leader that was
 * stopped, or whose host slept, blames nobody for it.
 */
export class Silence {
  readonly #clock: () => number
  readonly #limits: { readonly lostMs: number; readonly lookEveryMs: number }
  readonly #silent = new Map<NodeId, number>()
  #lookedAt: number | undefined

  constructor(clock: () => number, limits: { readonly lostMs: number; readonly lookEveryMs: number }) {
    this.#clock = clock
    this.#limits = limits
  }

  look(progress: ReadonlyMap<NodeId, { readonly recentActive: boolean }>): void {
    const now = this.#clock()
    const passed = Math.min(now - (this.#lookedAt ?? now), 2 * this.#limits.lookEveryMs)
    this.#lookedAt = now
    for (const [member, { recentActive }] of progress)
      this.#silent.set(member, recentActive ? 0 : (this.#silent.get(member) ?? 0) + passed)
  }

  isLost(member: NodeId): boolean {
    return (this.#silent.get(member) ?? 0) >= this.#limits.lostMs
  }

  /** Who does not lead hears nobody; the next leadership begins to count anew. */
  forget(): void {
    this.#silent.clear()
    this.#lookedAt = undefined
  }
}
