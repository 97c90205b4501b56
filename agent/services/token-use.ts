import type { Cluster } from '../cluster/cluster.ts'

const flushMs = 3600_000
/** Of one command. */
const mostAtOnce = 1000

/**
 * When tokens were last used. Kept in memory, since every request uses one, and told to the cluster once an hour; an
 * agent that stops takes the last hour with it.
 */
export class TokenUse {
  readonly #cluster: Cluster
  readonly #now: () => number
  readonly #at = new Map<string, number>()
  /** Used since the cluster was told. */
  readonly #fresh = new Set<string>()
  readonly #timer: NodeJS.Timeout

  constructor(cluster: Cluster, now: () => number) {
    this.#cluster = cluster
    this.#now = now
    this.#timer = setInterval(() => void this.flush().catch(() => undefined), flushMs).unref()
  }

  used(sha256: string): void {
    this.#at.set(sha256, this.#now())
    this.#fresh.add(sha256)
  }

  /** As this agent saw it; undefined when it did not. */
  lastUsed(sha256: string): string | undefined {
    const at = this.#at.get(sha256)
    return at === undefined ? undefined : new Date(at).toISOString()
  }

  /** Tell the cluster. What it does not take is told next time. */
  async flush(): Promise<void> {
    const { tokens } = this.#cluster.state()
    for (const sha256 of this.#at.keys())
      if (!tokens.has(sha256)) {
        this.#at.delete(sha256)
        this.#fresh.delete(sha256)
      }
    const due = [...this.#fresh]
    for (let from = 0; from < due.length; from += mostAtOnce) {
      const part = due.slice(from, from + mostAtOnce)
      const used = part.map((sha256) => ({ sha256, at: this.lastUsed(sha256) ?? '' }))
      await this.#cluster.propose(
        { type: 'tokens.used', used },
        { kind: 'node', node: this.#cluster.self.node },
      )
      for (const sha256 of part) this.#fresh.delete(sha256)
    }
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
