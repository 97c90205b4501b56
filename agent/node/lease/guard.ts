import type { Logger } from 'pino'
import { holdsResources } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { TaskRow } from '../../cluster/state.ts'
import { workloadOf } from '../../cluster/workloads.ts'
import { attemptKey } from '../key.ts'
import { isOver, type Lease, readDeadlines, sinceBoot, writeDeadlines } from './deadlines.ts'
import type { Leases } from '../task/context.ts'
import { forgetStopped, wasStopped } from './stopped.ts'
import { ensureKeeper } from './keeper-process.ts'

export interface LeaseGuardOptions {
  readonly cluster: Pick<Cluster, 'self' | 'state'>
  readonly dataDir: string
  readonly dockerSocket: string | null
  /** End an attempt here: its lease is over. */
  readonly expire: (task: string, attempt: number, graceSeconds: number) => void
  readonly log: Pick<Logger, 'warn'>
  /** Milliseconds on a clock that goes on while the host sleeps. */
  readonly clock?: () => number
  readonly ensureKeeper?: (dataDir: string) => void
}

const lookEveryMs = 1_000

/**
 * Ends the `lease` attempts of this node when no leader in office took a heartbeat for as long as their lease, though
 * there may have been one: by then plus their grace the leader may start them elsewhere. What the state says here is old when that happens, and right:
 * whatever ran here still does.
 */
export class LeaseGuard implements Leases {
  readonly #options: Required<LeaseGuardOptions>
  /** When the last heartbeat was sent that counts. */
  #heard: number
  #timer: NodeJS.Timeout | undefined
  #written = false
  /** Keys of the attempts that may run: what has not begun waits for its node to be heard. */
  readonly #begun = new Set<string>()

  constructor(options: LeaseGuardOptions) {
    this.#options = { clock: sinceBoot, ensureKeeper, ...options }
    // An agent that was away was not heard meanwhile.
    this.#heard = readDeadlines(options.dataDir)?.heard ?? this.#options.clock()
  }

  start(): void {
    this.#timer ??= setInterval(() => this.look(), lookEveryMs)
  }

  /** The keeper goes on. */
  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** A leader in office took a heartbeat that was sent then, or a majority of the voters knew no leader at that time. */
  heard(at: number): void {
    this.#heard = Math.max(this.#heard, at)
  }

  /** Is there anything here that a lease would end? */
  hasLeases(): boolean {
    return this.#leases().length > 0
  }

  /** Before an attempt is started: it is on record for the keeper, and this node is not cut off. */
  begin(task: TaskRow): void {
    const lease = this.#leaseOf(task)
    if (!lease) return
    this.#write(this.#leases())
    // Told again by the next heartbeat that is taken: a node that was away is given work before that.
    if (isOver(lease, this.#heard, this.#options.clock()))
      throw new Error('no leader in office has heard this node for as long as its lease')
    this.holds(task)
  }

  holds({ id, attempt }: Pick<TaskRow, 'id' | 'attempt'>): void {
    this.#begun.add(attemptKey(id, attempt))
  }

  endedByKeeper(task: string, attempt: number): boolean {
    return wasStopped(this.#options.dataDir, task, attempt)
  }

  forget(task: string, attempt: number): void {
    this.#begun.delete(attemptKey(task, attempt))
    forgetStopped(this.#options.dataDir, task, attempt)
  }

  /** Write down how things stand, and end what is over. */
  look(): void {
    const leases = this.#leases()
    if (!leases.length && !this.#written) return
    this.#write(leases)
    const now = this.#options.clock()
    for (const lease of leases)
      if (this.#begun.has(attemptKey(lease.task, lease.attempt)) && isOver(lease, this.#heard, now))
        this.#options.expire(lease.task, lease.attempt, lease.graceSeconds)
  }

  #write(leases: readonly Lease[]): void {
    const { dataDir, dockerSocket, log } = this.#options
    try {
      writeDeadlines(dataDir, { heard: this.#heard, dockerSocket, leases })
      this.#written = leases.length > 0
      if (leases.length) this.#options.ensureKeeper(dataDir)
    } catch (error) {
      // The keeper then judges by an older heartbeat: it may end too early, never too late.
      log.warn({ err: error }, 'the lease keeper cannot be told')
    }
  }

  #leases(): Lease[] {
    const { cluster } = this.#options
    return [...cluster.state().tasks.values()].flatMap((task) =>
      task.node === cluster.self.node && holdsResources(task.state) ? (this.#leaseOf(task) ?? []) : [],
    )
  }

  #leaseOf(task: TaskRow): Lease | undefined {
    const workload = workloadOf(this.#options.cluster.state(), task.workload)
    const policy = workload?.loss_policy
    if (!workload || policy?.kind !== 'lease') return undefined
    const { id, attempt, runtime, evict } = task
    const graceSeconds = Math.max(workload.grace_seconds, evict?.grace_seconds ?? 0)
    return { task: id, attempt, runtime: runtime ?? 'docker', seconds: policy.seconds, graceSeconds }
  }
}
