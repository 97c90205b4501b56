import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isFinal, ProblemError } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { TaskReport } from '../../cluster/commands.ts'
import type { TaskRow } from '../../cluster/state.ts'

/** The cluster took the report, or has no use for it: a newer attempt, a final state, a deleted experiment. */
export type Reported = 'applied' | 'refused'

/** These say nothing about the report itself: the same one is right later. */
const passing = new Set([
  'no_leader',
  'busy',
  'outcome_unknown',
  'rate_limited',
  'internal',
  'node_unreachable',
])

/** Tells the cluster what became of attempts, however long it takes to be heard. */
export class Reports {
  readonly #cluster: Pick<Cluster, 'self' | 'state' | 'propose' | 'onStatus'>
  readonly #log: Pick<Logger, 'warn' | 'info'>
  /** Between tries, ms: the first, and the longest. */
  readonly #pause: { readonly first: number; readonly longest: number }

  constructor(
    cluster: Pick<Cluster, 'self' | 'state' | 'propose' | 'onStatus'>,
    log: Pick<Logger, 'warn' | 'info'>,
    pause = { first: 200, longest: 5000 },
  ) {
    this.#cluster = cluster
    this.#log = log
    this.#pause = pause
  }

  /** The task's row while it is this attempt, on this node, and not final. */
  current(task: string, attempt: number): TaskRow | undefined {
    const row = this.#cluster.state().tasks.get(task)
    const ours = row?.attempt === attempt && row.node === this.#cluster.self.node && !isFinal(row.state)
    return ours ? row : undefined
  }

  /** Repeats until it is applied or refused; a repeat changes nothing, so what happened counts once. */
  async send(report: TaskReport, signal: AbortSignal): Promise<Reported> {
    for (let pause = this.#pause.first; ; pause = Math.min(pause * 2, this.#pause.longest)) {
      signal.throwIfAborted()
      try {
        // A host whose cluster was founded anew has another name than when it wrote the report.
        await this.#cluster.propose(
          { ...report, node: this.#cluster.self.node },
          { kind: 'node', node: this.#cluster.self.node },
        )
        return 'applied'
      } catch (error) {
        if (error instanceof ProblemError && !passing.has(error.code)) {
          this.#log.info({ task: report.task, attempt: report.attempt, code: error.code }, 'report refused')
          return 'refused'
        }
        if (!(error instanceof ProblemError) || error.code === 'internal')
          this.#log.warn({ err: error, task: report.task }, 'a report failed; trying again')
      }
      await this.#leaderOr(pause, signal)
    }
  }

  /** Waits, but not once there is a new leader. */
  async #leaderOr(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    const unsubscribe = this.#cluster.onStatus((status) => {
      if (status.leader !== null) woken.abort()
    })
    try {
      await delay(ms, undefined, { signal: AbortSignal.any([signal, woken.signal]) })
    } catch {
      signal.throwIfAborted()
    } finally {
      unsubscribe()
    }
  }
}
