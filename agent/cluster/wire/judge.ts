import type { Usage } from '../../../contract/index.ts'
import type { NodeLiveness } from '../cluster.ts'

/** Silence in ms, on the leader's clock, after which a node is judged so. */
export const judgement = { suspectMs: 4_000, unreachableMs: 8_000, restartGraceMs: 60_000 } as const

/** A node that announced its restart is suspect at once, so nothing new goes there, and lost only when the grace is over. */
export function judge(silentMs: number, restarting: boolean): NodeLiveness['liveness'] {
  if (restarting) return 'suspect'
  if (silentMs >= judgement.unreachableMs) return 'unreachable'
  return silentMs >= judgement.suspectMs ? 'suspect' : 'ready'
}

/** What a leader knows of the nodes, from its election on. All times are of its own monotonic clock. */
export class Ledger {
  readonly #heard = new Map<string, number>()
  readonly #usage = new Map<string, Usage | null>()

  /** The last table of the leader before: its figures are still the newest there are. */
  constructor(last: ReadonlyMap<string, NodeLiveness>) {
    for (const [node, { usage }] of last) this.#usage.set(node, usage)
  }

  heard(node: string, now: number, usage: Usage | null): void {
    this.#heard.set(node, now)
    this.#usage.set(node, usage)
  }

  /** The leader itself stood still for so long: that is not the others' silence. */
  slept(ms: number): void {
    for (const [node, at] of this.#heard) this.#heard.set(node, at + ms)
  }

  /** `restarting`: until when a node's announced restart may last. */
  table(
    nodes: readonly string[],
    now: number,
    restarting: ReadonlyMap<string, number>,
  ): Map<string, NodeLiveness> {
    return new Map(nodes.map((node) => [node, this.#row(node, now, restarting.get(node) ?? 0)]))
  }

  #row(node: string, now: number, restartingUntil: number): NodeLiveness {
    // A new leader could not have heard anybody before, nor anybody a node that just joined: their clocks begin now.
    const at = this.#heard.get(node) ?? now
    this.#heard.set(node, at)
    const silent_ms = Math.max(0, Math.round(now - at))
    const liveness = judge(silent_ms, restartingUntil > now)
    return { liveness, silent_ms, usage: this.#usage.get(node) ?? null }
  }
}
