import { setTimeout as delay } from 'node:timers/promises'
import { isFinal, type LogLine, ProblemError } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { TaskRow } from '../cluster/state.ts'
import type { LogRecord, StreamRecord, Streams } from '../store/store.ts'
import { nodesToAsk } from './access.ts'

/** Where to begin: an attempt (default: the newest) and a byte offset, or the last `tail` records. */
export interface Start {
  readonly attempt?: number | undefined
  readonly from?: number | undefined
  readonly tail?: number | undefined
}

/** An attempt that is over, but whose log nobody sealed (its node died), has told all after this long without a line. */
const lastWordsMs = 10_000
const retryMs = 300

/** One task's log through its attempts. */
export class TaskLog {
  readonly #cluster: Cluster
  readonly #streams: Streams
  readonly #task: string
  readonly #signal: AbortSignal

  constructor(cluster: Cluster, streams: Streams, task: string, signal: AbortSignal) {
    this.#cluster = cluster
    this.#streams = streams
    this.#task = task
    this.#signal = signal
  }

  async *read(start: Start, follow: boolean): AsyncGenerator<LogLine> {
    let attempt = start.attempt ?? this.#row()?.attempt ?? 0
    if (attempt > 0) yield* this.#attempt(attempt, start, follow)
    while (follow && !this.#signal.aborted) {
      const next = await this.#newerThan(attempt)
      if (next === undefined) return
      attempt = next
      yield* this.#attempt(attempt, {}, follow)
    }
  }

  #row(): TaskRow | undefined {
    return this.#cluster.state().tasks.get(this.#task)
  }

  #isOver(attempt: number): boolean {
    const row = this.#row()
    return !row || row.attempt > attempt || isFinal(row.state) || pastOf(row, attempt) !== undefined
  }

  async *#attempt(attempt: number, start: Start, follow: boolean): AsyncGenerator<LogLine> {
    let from = start.from ?? 0
    let tail = start.from === undefined ? start.tail : undefined
    if (tail === 0 && !follow) return
    while (!this.#signal.aborted) {
      const wasOver = this.#isOver(attempt)
      const idle = new Idle(() => this.#isOver(attempt), this.#cluster, this.#signal)
      try {
        for await (const record of this.#open(attempt, from, tail, follow && !wasOver, idle.signal)) {
          from = record.next
          tail = undefined
          idle.reset()
          yield lineOf(this.#task, attempt, record)
        }
      } catch (error) {
        if (idle.signal.aborted) return
        if (!this.#mayRetry(error, attempt, follow)) {
          if (error instanceof ProblemError && error.code === 'not_found') return
          throw error
        }
      } finally {
        idle.stop()
      }
      if (!follow || wasOver || idle.signal.aborted) return
      // Not begun yet, or sealed a moment before the cluster heard of it.
      await delay(retryMs, undefined, { signal: this.#signal }).catch(() => undefined)
    }
  }

  #open(attempt: number, from: number, tail: number | undefined, follow: boolean, signal: AbortSignal) {
    const row = this.#row()
    const key = { task: this.#task, attempt, kind: 'log' } as const
    const ran = row && (pastOf(row, attempt) ?? row)
    const nodes = ran ? nodesToAsk(this.#cluster.state(), ran, ran.log?.holders ?? []) : []
    return this.#streams.read(key, { from, follow, nodes, signal, ...(tail === undefined ? {} : { tail }) })
  }

  /** Before its first line a log is nowhere, and a node may come back: whoever follows waits. */
  #mayRetry(error: unknown, attempt: number, follow: boolean): boolean {
    const passing =
      error instanceof ProblemError && (error.code === 'not_found' || error.code === 'node_unreachable')
    return passing && follow && !this.#isOver(attempt)
  }

  /** The next attempt, once there is one; undefined when there will be none. */
  #newerThan(attempt: number): Promise<number | undefined> {
    return new Promise((resolve) => {
      const end = (value: number | undefined) => {
        stop()
        this.#signal.removeEventListener('abort', aborted)
        resolve(value)
      }
      const aborted = () => end(undefined)
      const look = () => {
        const row = this.#row()
        if (row && row.attempt > attempt) end(attempt + 1)
        else if (!row || isFinal(row.state)) end(undefined)
      }
      const stop = this.#cluster.onApplied(look)
      this.#signal.addEventListener('abort', aborted)
      if (this.#signal.aborted) aborted()
      else look()
    })
  }
}

/** What is remembered of an attempt that is over, where a later one may follow. */
const pastOf = (row: TaskRow, attempt: number) => row.past?.find((one) => one.attempt === attempt)

/** Ends a read some time after the attempt was over and silent; a sealed stream ends by itself before that. */
class Idle {
  readonly #ended = new AbortController()
  readonly signal: AbortSignal
  readonly #stopWatching: () => void
  readonly #isOver: () => boolean
  #timer: NodeJS.Timeout | undefined

  constructor(isOver: () => boolean, cluster: Cluster, outer: AbortSignal) {
    this.#isOver = isOver
    this.signal = AbortSignal.any([this.#ended.signal, outer])
    this.#stopWatching = cluster.onApplied(() => this.#arm())
    this.#arm()
  }

  reset(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#arm()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#stopWatching()
  }

  #arm(): void {
    if (this.#timer === undefined && this.#isOver())
      this.#timer = setTimeout(() => this.#ended.abort(), lastWordsMs).unref()
  }
}

function lineOf(task: string, attempt: number, { next, value }: StreamRecord): LogLine {
  const { t, s, l } = value as LogRecord
  return { task, attempt, offset: next, time: t, stream: s === 'e' ? 'stderr' : 'stdout', text: l }
}
