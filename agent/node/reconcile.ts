import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as immediate } from 'node:timers/promises'
import type { Logger } from 'pino'
import { holdsResources, type RuntimeName } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Applied } from '../cluster/commands.ts'
import type { ExperimentRow, TaskRow } from '../cluster/state.ts'
import { workloadOf } from '../cluster/workloads.ts'
import type { Blobs, Space, Streams } from '../store/store.ts'
import { within } from './deadline.ts'
import { attemptKey } from './key.ts'
import { missingRuntime } from './missing-runtime.ts'
import { bootId } from './process/proc.ts'
import type { Found, Runtime } from './runtime.ts'
import { Sweeper } from './sweep.ts'
import { TaskRunner } from './task-runner.ts'
import type { Taken } from './task/attempt.ts'
import { defaultTiming, type Leases, type RunnerTiming } from './task/context.ts'
import { graceOf, type StopOrder } from './task/stopper.ts'
import { newToken } from './task/environment.ts'
import type { RunnerContext } from './task/context.ts'
import { AttemptFolders } from './task/folders.ts'
import { type AttemptRecord, AttemptRecords } from './task/records.ts'
import { Reports } from './task/reports.ts'

export interface ReconcilerOptions {
  readonly cluster: Pick<Cluster, 'self' | 'state' | 'propose' | 'barrier' | 'onApplied' | 'onStatus'>
  readonly blobs: Blobs
  readonly streams: Streams
  readonly space: Space
  readonly runtimes: readonly Runtime[]
  readonly dataDir: string
  /** How the tasks of a runtime reach this agent (docs/decisions/0003), and the CA to trust when that is HTTPS. */
  readonly api: { readonly url: (runtime: RuntimeName) => string; readonly caFile?: string }
  readonly clusterId: string
  readonly nodeId: string
  readonly log: Logger
  readonly leases?: Leases
  readonly secretFor?: RunnerContext['secretFor']
  readonly timing?: Partial<RunnerTiming>
  /** Between passes that nothing asked for, ms. */
  readonly periodMs?: number
}

interface Desired {
  readonly task: TaskRow
  readonly experiment: ExperimentRow
}

/** What the host has of attempts; a runtime that does not answer is missing, which is not the same as empty. */
export type Observed = ReadonlyMap<RuntimeName, readonly Found[]>

/**
 * Makes the host do what the replicated state says of this node: level-triggered, woken by every change of its tasks
 * and now and then, so that nothing is lost with a missed event or a killed agent.
 */
export class NodeReconciler {
  readonly #options: ReconcilerOptions
  readonly #records: AttemptRecords
  readonly #folders: AttemptFolders
  readonly #reports: Reports
  readonly #sweeper: Sweeper
  readonly #runners = new Map<string, { runner: TaskRunner; done: Promise<void> }>()
  /** Ids of the tasks placed here. */
  readonly #mine = new Set<string>()
  /** Runtimes that did not answer when they were asked last, and why. */
  readonly #silent = new Map<RuntimeName, string>()
  #unsubscribe: () => void = () => undefined
  #timer: NodeJS.Timeout | undefined
  #passing: Promise<void> | undefined
  #woken = false
  #sweepDue = true
  #stopped = false

  constructor(options: ReconcilerOptions) {
    const { cluster, dataDir, log } = options
    this.#options = options
    this.#records = new AttemptRecords(path.join(dataDir, 'node'))
    this.#folders = new AttemptFolders(dataDir)
    this.#reports = new Reports(cluster, log)
    const [records, folders] = [this.#records, this.#folders]
    const onEnded = () => void this.#wake()
    this.#sweeper = new Sweeper({ runtimes: options.runtimes, records, folders, onEnded, log })
  }

  /** Resolves after the first pass: what ran before is taken over again. */
  async start(): Promise<void> {
    const { cluster, periodMs = 10_000 } = this.#options
    await this.#records.open()
    await this.#folders.open()
    await mkdir(this.#scratch, { recursive: true, mode: 0o700 })
    this.#lookAtAll()
    this.#unsubscribe = cluster.onApplied((applied) => this.#onApplied(applied))
    this.#timer = setInterval(() => {
      this.#lookAtAll()
      this.#sweepDue = true
      void this.#wake()
    }, periodMs)
    await this.#wake()
  }

  /** Lets go of every task and leaves it running. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    this.#unsubscribe()
    for (const { runner } of this.#runners.values()) runner.leave()
    await this.#passing
    for (const { runner } of this.#runners.values()) runner.leave()
    await Promise.all([...this.#runners.values()].map(({ done }) => done))
    await this.#sweeper.settled()
  }

  /** Its lease is over: the cluster may start it elsewhere. */
  expire(task: string, attempt: number, graceSeconds: number): void {
    this.#runners.get(attemptKey(task, attempt))?.runner.stop({ cause: 'lease', graceSeconds })
  }

  /** This node left the cluster: nobody will ask for its tasks again, so they end. What they wrote stays. */
  async endAll(): Promise<void> {
    await this.stop()
    const observed = await this.#observe()
    for (const runtime of this.#options.runtimes)
      for (const found of observed.get(runtime.name) ?? [])
        if (!found.exit && found.startedAt !== null)
          await runtime.stop(found, 10).catch((error: unknown) => {
            this.#options.log.warn({ err: error, task: found.task }, 'a task could not be stopped')
          })
  }

  get #timing(): RunnerTiming {
    return { ...defaultTiming, ...this.#options.timing }
  }

  get #scratch(): string {
    return path.join(this.#options.dataDir, 'node', 'scratch')
  }

  // --- what is wanted ---

  #onApplied(applied: Applied): void {
    const { cluster } = this.#options
    const { tasks, experiments } = cluster.state()
    const tasksChanged = applied.changed.get('tasks') ?? new Set<string>()
    let ours = false
    for (const id of tasksChanged) {
      ours ||= this.#mine.has(id)
      this.#look(id, tasks.get(id))
      ours ||= this.#mine.has(id)
    }
    for (const id of applied.changed.get('experiments') ?? [])
      ours ||= experiments.get(id)?.tasks.some((task) => this.#mine.has(task)) ?? false
    if (ours) void this.#wake()
  }

  #lookAtAll(): void {
    const { tasks } = this.#options.cluster.state()
    for (const id of [...this.#mine]) this.#look(id, tasks.get(id))
    for (const [id, row] of tasks) this.#look(id, row)
  }

  #look(id: string, row: TaskRow | undefined): void {
    if (row && row.node === this.#options.nodeId && holdsResources(row.state)) this.#mine.add(id)
    else this.#mine.delete(id)
  }

  /** Read afresh from the state each time: only the newest counts. */
  #desired(): Map<string, Desired> {
    const { tasks, experiments } = this.#options.cluster.state()
    const desired = new Map<string, Desired>()
    for (const id of this.#mine) {
      const task = tasks.get(id)
      const experiment = task && experiments.get(task.workload)
      if (experiment) desired.set(attemptKey(id, task.attempt), { task, experiment })
    }
    return desired
  }

  // --- making it so ---

  /** Run a pass, or another one after the one under way. */
  #wake(): Promise<void> {
    this.#woken = true
    this.#passing ??= this.#passes().finally(() => (this.#passing = undefined))
    return this.#passing
  }

  async #passes(): Promise<void> {
    // Whatever woke us, such as an entry being applied, finishes first.
    await immediate()
    while (this.#woken && !this.#stopped) {
      this.#woken = false
      try {
        await this.#pass()
      } catch (error) {
        this.#options.log.error({ err: error }, 'a pass over the tasks of this node failed')
      }
    }
  }

  async #pass(): Promise<void> {
    const desired = this.#desired()
    for (const [key, { runner }] of this.#runners) {
      const wanted = desired.get(key)
      const order = wanted && stopOrder(wanted, this.#timing)
      if (order) runner.stop(order)
      else if (!wanted && !runner.ending) runner.leave()
    }
    const missing = [...desired].filter(([key]) => !this.#runners.has(key))
    if (missing.length === 0 && !this.#sweepDue) return
    const unseen = await this.#unseen(missing)
    // They begin at once and side by side, however long the host takes to say what else it has.
    await Promise.all(unseen.map(([key, wanted]) => this.#take(key, wanted, noneOf(this.#options.runtimes))))
    const others = missing.filter(([key]) => !this.#runners.has(key))
    if (others.length === 0 && !this.#sweepDue) return
    const observed = await this.#observe()
    for (const [key, wanted] of others) await this.#take(key, wanted, observed)
    if (this.#sweepDue) await this.#sweep(observed)
  }

  /** Of which nothing can be anywhere: no node has said it would start them, nor does this one have notes of them. */
  async #unseen(missing: readonly (readonly [string, Desired])[]) {
    const first = missing.filter(
      ([, { task }]) => neverStarted(task) && !this.#silent.has(task.runtime ?? 'docker'),
    )
    const records = await Promise.all(first.map(([, { task }]) => this.#records.get(task.id, task.attempt)))
    return first.filter((_, at) => !records[at])
  }

  async #observe(): Promise<Observed> {
    const observed = new Map<RuntimeName, readonly Found[]>()
    for (const runtime of this.#options.runtimes)
      try {
        observed.set(runtime.name, await within(30_000, runtime.list(), `the ${runtime.name} runtime`))
        this.#silent.delete(runtime.name)
      } catch (error) {
        this.#tellSilent(runtime.name, error instanceof Error ? error.message : String(error))
      }
    return observed
  }

  /** Once for each cause: a host without an engine is asked every few seconds. */
  #tellSilent(runtime: RuntimeName, why: string): void {
    if (this.#silent.get(runtime) === why) return
    this.#silent.set(runtime, why)
    this.#options.log.warn({ runtime, why }, 'a runtime does not answer')
  }

  async #take(key: string, { task, experiment }: Desired, observed: Observed): Promise<void> {
    const name = task.runtime ?? 'docker'
    const known = this.#options.runtimes.find((one) => one.name === name)
    const record = await this.#records.get(task.id, task.attempt)
    const fresh = task.state === 'Starting' && !record
    // What may already run is judged only by what its runtime says, and that may be away for a while.
    if (!observed.has(name) && (known || !fresh)) return
    const found = observed.get(name)?.find((one) => attemptKey(one.task, one.attempt) === key)
    // Never two of one task: an attempt that was given up, as this host could not be asked, ends before the next begins.
    if (fresh && this.#earlierRuns(task, observed)) {
      this.#sweepDue = true
      return
    }
    const limitSeconds = workloadOf(this.#options.cluster.state(), experiment.id)?.limit_seconds ?? null
    const taken: Taken = {
      task,
      experiment,
      record: record ?? newRecord(task, name, found),
      found,
      limitSeconds,
    }
    if (!record) await this.#records.put(taken.record)
    this.#run(key, known ?? missingRuntime(name), taken)
  }

  #earlierRuns({ id, attempt }: TaskRow, observed: Observed): boolean {
    const all = [...observed.values()].flat()
    return all.some(
      (one) => one.task === id && one.attempt !== attempt && one.startedAt !== null && !one.exit,
    )
  }

  #run(key: string, runtime: Runtime, taken: Taken): void {
    const { api, nodeId } = this.#options
    const runner = new TaskRunner(
      {
        ...this.#options,
        runtime,
        api: { url: api.url(runtime.name), caFile: api.caFile },
        records: this.#records,
        folders: this.#folders,
        reports: this.#reports,
        node: nodeId,
        scratch: this.#scratch,
        timing: this.#timing,
      },
      taken,
    )
    const order = stopOrder(taken, this.#timing)
    if (order) runner.stop(order)
    const done = runner.run().finally(() => {
      this.#runners.delete(key)
      // It may have been left, or have failed to clean up: look what there is to do now.
      this.#sweepDue = true
      if (!this.#stopped) void this.#wake()
    })
    this.#runners.set(key, { runner, done })
    if (this.#stopped) runner.leave()
  }

  /** Ends and forgets what nobody wants any more, but only as the newest state of the cluster says it. */
  async #sweep(observed: Observed): Promise<void> {
    try {
      await this.#options.cluster.barrier()
    } catch {
      return
    }
    this.#sweepDue = false
    this.#lookAtAll()
    const desired = this.#desired()
    await this.#sweeper.sweep(observed, (key) => desired.has(key) || this.#runners.has(key))
  }
}

const neverStarted = ({ state, attempt, token_sha256 }: TaskRow) =>
  state === 'Starting' && attempt === 1 && !token_sha256

const noneOf = (runtimes: readonly Runtime[]): Observed => new Map(runtimes.map(({ name }) => [name, []]))

/** Why the cluster wants it to end, if it does: one that is stopped for good does not come back. */
function stopOrder({ task, experiment }: Desired, timing: { readonly grace: number }): StopOrder | undefined {
  const graceSeconds = graceOf(experiment, timing)
  if (experiment.stop_requested) return { cause: 'requested', graceSeconds }
  return task.evict ? { cause: 'evicted', graceSeconds: task.evict.grace_seconds } : undefined
}

function newRecord(task: TaskRow, runtime: RuntimeName, found: Found | undefined): AttemptRecord {
  const started = task.state === 'Running' || found?.startedAt != null
  return {
    v: 1,
    task: task.id,
    attempt: task.attempt,
    workload: task.workload,
    runtime,
    token: newToken(),
    bootId: bootId(),
    phase: started ? 'running' : 'preparing',
    startedAt: found?.startedAt ?? task.started_at,
    stopped: null,
    exit: null,
    report: null,
  }
}
