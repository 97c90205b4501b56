// In-memory doubles of what the node works with, for tests: they keep the contracts that the node relies on.
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { Map as Rows } from 'immutable'
import { isFinal, isLegal, ProblemError, type Resources } from '../../contract/index.ts'
import type { Cluster, ClusterStatus } from '../cluster/cluster.ts'
import type { Applied, Command, ResultOf, TaskReport } from '../cluster/commands.ts'
import type { ExperimentRow, State, TaskRow } from '../cluster/state.ts'
import { emptyState } from '../cluster/transaction.ts'
import type { Blobs, Space, StreamKey, StreamRead, StreamRecord, Streams } from '../store/store.ts'
import type { Exit, Found, Launch, LogResume, Runtime } from './runtime.ts'
import type { LogRecord } from '../store/store.ts'

export const resources: Resources = { cpu: 1, memory: 1024 ** 3, gpu: 0, disk: 0 }

export function experimentRow(given: Partial<ExperimentRow> & { command?: string[]; timeout?: number } = {}) {
  const { command = ['true'], timeout, ...rest } = given
  const row: ExperimentRow = {
    resource_version: 1,
    id: 'exp-1',
    name: 'first',
    owner: 'ana',
    spec: {
      name: 'first',
      type: 'script',
      tags: [],
      ...(timeout === undefined ? {} : { timeout_seconds: timeout }),
      roles: { worker: { replicas: 1, resources, command, env: { GREETING: 'hello' } } },
    },
    state: 'Starting',
    reason: null,
    stop_requested: false,
    created_at: '2026-01-01T00:00:00Z',
    started_at: null,
    finished_at: null,
    tasks: ['exp-1-worker-0'],
    ...rest,
  }
  return row
}

export function taskRow(given: Partial<TaskRow> = {}): TaskRow {
  return {
    resource_version: 1,
    id: 'exp-1-worker-0',
    workload: 'exp-1',
    role: 'worker',
    index: 0,
    state: 'Starting',
    reason: null,
    resources,
    attempt: 1,
    node: 'node-1',
    runtime: 'process',
    gpus: [],
    token_sha256: null,
    exit_code: null,
    started_at: null,
    finished_at: null,
    artifacts: null,
    log: null,
    metrics: null,
    ...given,
  }
}

type Listener = (applied: Applied) => void

/** One replica that applies task reports by the rules of the state machine; a leader may be taken away. */
export class DoubleCluster implements Pick<
  Cluster,
  'self' | 'state' | 'propose' | 'barrier' | 'onApplied' | 'onStatus'
> {
  readonly self = { node: 'node-1', member: 1 }
  leader = true
  /** Answers `outcome_unknown` to so many proposals although they are applied. */
  forget = 0
  /** Every report that changed something. */
  readonly applied: TaskReport[] = []
  readonly proposed: Command[] = []
  #state: State
  readonly #listeners = new Set<Listener>()
  readonly #statusListeners = new Set<(status: ClusterStatus) => void>()
  #waiting: { test: (state: State) => boolean; resolve: () => void }[] = []

  constructor(experiment: ExperimentRow = experimentRow(), task: TaskRow = taskRow()) {
    this.#state = {
      ...emptyState,
      experiments: Rows([[experiment.id, experiment]]),
      tasks: Rows([[task.id, task]]),
    }
  }

  state(): State {
    return this.#state
  }

  task(id = 'exp-1-worker-0'): TaskRow | undefined {
    return this.#state.tasks.get(id)
  }

  /** As an applied entry would change it. */
  change(to: {
    task?: TaskRow
    experiment?: ExperimentRow
    deletedTask?: string
    state?: Partial<State>
  }): void {
    let { tasks, experiments } = this.#state
    const changed = new Map<'tasks' | 'experiments', Set<string>>()
    if (to.task) tasks = tasks.set(to.task.id, to.task)
    if (to.deletedTask) tasks = tasks.delete(to.deletedTask)
    if (to.experiment) experiments = experiments.set(to.experiment.id, to.experiment)
    const task = to.task?.id ?? to.deletedTask
    if (task) changed.set('tasks', new Set([task]))
    if (to.experiment) changed.set('experiments', new Set([to.experiment.id]))
    this.#state = { ...this.#state, tasks, experiments, ...to.state }
    for (const listener of this.#listeners) listener({ index: 1, changed, events: [] })
    const [met, unmet] = [
      this.#waiting.filter((w) => w.test(this.#state)),
      this.#waiting.filter((w) => !w.test(this.#state)),
    ]
    this.#waiting = unmet
    for (const { resolve } of met) resolve()
  }

  /** Resolves when the state is so. */
  async until(test: (state: State) => boolean): Promise<void> {
    if (test(this.#state)) return
    await new Promise<void>((resolve) => this.#waiting.push({ test, resolve }))
  }

  untilTask(test: (task: TaskRow) => boolean, id = 'exp-1-worker-0'): Promise<void> {
    return this.until(({ tasks }) => {
      const task = tasks.get(id)
      return task !== undefined && test(task)
    })
  }

  setLeader(there: boolean): void {
    this.leader = there
    for (const listener of this.#statusListeners) listener(this.status())
  }

  status(): ClusterStatus {
    return {
      leader: this.leader ? 'node-1' : null,
      isLeader: this.leader,
      term: 1,
      commit: 1,
      applied: 1,
      voters: [1],
      learners: [],
      leaving: [],
    }
  }

  async propose<C extends Command>(command: C): Promise<ResultOf<C>> {
    if (!this.leader) throw new ProblemError('no_leader')
    this.proposed.push(command)
    if (command.type === 'task.report') this.#report(command)
    else if (command.type === 'node.report')
      this.change({ state: { nodes: this.#state.nodes.set(command.node, nodeRow(command)) } })
    if (this.forget > 0) {
      this.forget--
      throw new ProblemError('outcome_unknown')
    }
    return null as ResultOf<C>
  }

  #report(report: TaskReport): void {
    const task = this.#state.tasks.get(report.task)
    if (!task) throw new ProblemError('not_found')
    if (task.attempt !== report.attempt || task.node !== report.node) throw new ProblemError('stale_attempt')
    if (isFinal(task.state)) return
    const { type: _type, task: _task, attempt: _attempt, node: _node, ...told } = report
    const state = report.state === task.state || isLegal(task.state, report.state) ? report.state : task.state
    this.applied.push(report)
    this.change({ task: { ...task, ...told, reason: report.reason ?? null, state } })
  }

  async barrier(): Promise<void> {
    if (!this.leader) throw new ProblemError('no_leader')
  }

  onApplied(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  onStatus(listener: (status: ClusterStatus) => void): () => void {
    this.#statusListeners.add(listener)
    return () => this.#statusListeners.delete(listener)
  }
}

function nodeRow(report: Extract<Command, { type: 'node.report' }>) {
  const { address, inventory, allocatable, gpus, boot_id = null } = report
  return {
    resource_version: 1,
    id: report.node,
    name: report.node,
    member: 1,
    joined_at: '2026-01-01T00:00:00Z',
    ...{ address, inventory, allocatable, gpus, boot_id },
  }
}

/** Attempts that run until a test ends them. */
export class DoubleRuntime implements Runtime {
  readonly name = 'process' as const
  /** Every start that made something new. */
  readonly started: Launch[] = []
  readonly removed: string[] = []
  readonly stopped: { task: string; attempt: number; grace: number }[] = []
  /** What `start` throws, once. */
  startError: Error | undefined
  /** Does the engine answer? */
  answers = true
  readonly #attempts = new Map<string, Held>()

  async start(launch: Launch): Promise<Found> {
    if (this.startError) {
      const error = this.startError
      this.startError = undefined
      throw error
    }
    const handle = `${launch.task}/${launch.attempt}`
    const held = this.#attempts.get(handle) ?? this.hold(launch.task, launch.attempt)
    if (!this.started.includes(launch)) this.started.push(launch)
    return held.found
  }

  /** As if it had been started by an earlier agent. */
  hold(task: string, attempt: number, startedAt: string | null = new Date().toISOString()): Held {
    const held = new Held({ task, attempt, handle: `${task}/${attempt}`, startedAt, exit: null })
    this.#attempts.set(held.found.handle, held)
    return held
  }

  get(task = 'exp-1-worker-0', attempt = 1): Held {
    const held = this.#attempts.get(`${task}/${attempt}`)
    if (!held) throw new Error('there is no such attempt')
    return held
  }

  has(task = 'exp-1-worker-0', attempt = 1): boolean {
    return this.#attempts.has(`${task}/${attempt}`)
  }

  /** As if somebody had removed it. */
  lose(task = 'exp-1-worker-0', attempt = 1): void {
    this.#attempts.delete(`${task}/${attempt}`)
  }

  async list(): Promise<Found[]> {
    if (!this.answers) throw new Error('the engine does not answer')
    return [...this.#attempts.values()].map(({ found }) => found)
  }

  async wait(found: Found, signal: AbortSignal): Promise<Exit> {
    return this.get(found.task, found.attempt).ended(signal)
  }

  async stop(found: Found, grace: number): Promise<void> {
    this.stopped.push({ task: found.task, attempt: found.attempt, grace })
    this.get(found.task, found.attempt).end({ exitCode: 143 })
  }

  async remove(found: Found): Promise<void> {
    this.removed.push(found.handle)
    this.#attempts.delete(found.handle)
  }

  async *log(found: Found, resume: LogResume | null, signal: AbortSignal): AsyncIterable<LogRecord> {
    const held = this.get(found.task, found.attempt)
    for (let at = resume?.skip ?? 0; ; at++) {
      const record = await held.line(at, signal)
      if (!record) return
      yield record
    }
  }
}

/** An attempt in a double's hands. */
export class Held {
  found: Found
  readonly #lines: LogRecord[] = []
  #changed = Promise.withResolvers<void>()

  constructor(found: Found) {
    this.found = found
  }

  print(...lines: string[]): void {
    for (const l of lines) {
      const t = `2026-01-01T00:00:00.${String(this.#lines.length).padStart(9, '0')}Z`
      this.#lines.push({ t, s: 'o', l })
    }
    this.#tell()
  }

  end(exit: Partial<Exit> = {}): void {
    const whole = {
      exitCode: 0,
      oomKilled: false,
      failure: null,
      finishedAt: new Date().toISOString(),
      ...exit,
    }
    this.found = { ...this.found, exit: this.found.exit ?? whole }
    this.#tell()
  }

  async ended(signal: AbortSignal): Promise<Exit> {
    while (!this.found.exit) await this.#change(signal)
    return this.found.exit
  }

  async line(at: number, signal: AbortSignal): Promise<LogRecord | undefined> {
    while (this.#lines.length <= at) {
      if (this.found.exit) return undefined
      await this.#change(signal)
    }
    return this.#lines[at]
  }

  #tell(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  async #change(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const aborted = Promise.withResolvers<never>()
    const stop = () => aborted.reject(signal.reason as Error)
    signal.addEventListener('abort', stop)
    try {
      await Promise.race([this.#changed.promise, aborted.promise])
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}

/** Two nodes that hold every blob, unless the second is away. */
export class DoubleBlobs implements Blobs {
  readonly held = new Map<string, Buffer>()
  /** What `put` throws, while it is set. */
  putError: Error | undefined
  second = true

  async put(source: Readable): Promise<{ sha256: string; bytes: number }> {
    const bytes = await buffer(source)
    if (this.putError) throw this.putError
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    this.held.set(sha256, bytes)
    return { sha256, bytes: bytes.length }
  }

  async size(sha256: string): Promise<number | undefined> {
    return this.held.get(sha256)?.length
  }

  read(sha256: string): Readable {
    return Readable.from([this.held.get(sha256) ?? Buffer.alloc(0)])
  }

  async delete(sha256: string): Promise<void> {
    this.held.delete(sha256)
  }

  async replicate(sha256: string, signal?: AbortSignal): Promise<string[]> {
    if (!this.held.has(sha256)) throw new ProblemError('not_found')
    if (this.second) return ['node-1', 'node-2']
    if (signal && !signal.aborted)
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    return ['node-1']
  }

  async open(sha256: string): Promise<{ bytes: number; body: Readable }> {
    const bytes = this.held.get(sha256)
    if (!bytes) throw new ProblemError('not_found')
    return { bytes: bytes.length, body: Readable.from([bytes]) }
  }
}

export class DoubleStreams implements Streams {
  readonly held = new Map<string, object[]>()
  readonly sealed = new Set<string>()
  /** What `append` throws, so many times. */
  fail = 0

  records(kind: StreamKey['kind'] = 'log', task = 'exp-1-worker-0', attempt = 1): object[] {
    return this.held.get(name({ task, attempt, kind })) ?? []
  }

  lines(task = 'exp-1-worker-0', attempt = 1): string[] {
    return this.records('log', task, attempt).map((record) => (record as LogRecord).l)
  }

  async append(key: StreamKey, records: readonly object[]): Promise<{ size: number; copies: number }> {
    if (this.fail > 0) {
      this.fail--
      throw new ProblemError('disk_low')
    }
    if (this.sealed.has(name(key))) throw new Error('the stream is sealed')
    this.held.set(name(key), [...(this.held.get(name(key)) ?? []), ...records])
    return { size: (await this.size(key)) ?? 0, copies: 2 }
  }

  async size(key: StreamKey): Promise<number | undefined> {
    const records = this.held.get(name(key))
    return records && text(records).length
  }

  async *read(key: StreamKey, { tail }: StreamRead): AsyncIterable<StreamRecord> {
    const all = this.held.get(name(key)) ?? []
    for (const value of tail === undefined ? all : all.slice(-tail)) yield { next: 0, value }
  }

  async last(key: StreamKey): Promise<StreamRecord | undefined> {
    const value = this.held.get(name(key))?.at(-1)
    return value && { next: 0, value }
  }

  async seal(key: StreamKey): Promise<{ sha256: string; bytes: number; holders: string[] }> {
    this.sealed.add(name(key))
    const all = text(this.held.get(name(key)) ?? [])
    return {
      sha256: createHash('sha256').update(all).digest('hex'),
      bytes: all.length,
      holders: ['node-1', 'node-2'],
    }
  }

  async delete(task: string): Promise<void> {
    for (const key of this.held.keys()) if (key.startsWith(`${task}/`)) this.held.delete(key)
  }
}

const name = ({ task, attempt, kind }: StreamKey) => `${task}/${attempt}/${kind}`
const text = (records: readonly object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('')

export class DoubleSpace implements Space {
  full = false

  check(): void {
    if (this.full) throw new ProblemError('disk_low', 'Only 10 MiB are free')
  }

  low(): boolean {
    return this.full
  }
}
