import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { LogRecord, StreamKey, Streams } from '../../store/store.ts'
import { LogCursor } from '../log/cursor.ts'
import type { Found, LogResume, Runtime } from '../runtime.ts'

export interface LogKeeperOptions {
  readonly runtime: Pick<Runtime, 'log'>
  readonly streams: Pick<Streams, 'append' | 'read' | 'size'>
  readonly node: string
  readonly log: Pick<Logger, 'warn'>
  /** Of one attempt's kept log; beyond it lines are read but not kept. */
  readonly maxBytes?: number
  readonly retryMs?: number
}

/** Records written at a time, and how long one may wait for others to join it. */
const batchRecords = 500
const batchMs = 50
/** Enough of the kept log's end to find the place where it goes on. */
const tailRecords = 20_000

/** Moves an attempt's log from its runtime into the cluster's keeping, each record once, however often it is cut off. */
export class LogKeeper {
  readonly #options: LogKeeperOptions

  constructor(options: LogKeeperOptions) {
    this.#options = options
  }

  /** Resolves when the attempt has ended and its whole log is kept. */
  async follow(found: Found, signal: AbortSignal): Promise<void> {
    const { runtime, log, retryMs = 2000 } = this.#options
    const key: StreamKey = { task: found.task, attempt: found.attempt, kind: 'log' }
    for (;;) {
      signal.throwIfAborted()
      const over = new AbortController()
      try {
        const resume = await this.#resume(key)
        const records = runtime.log(found, resume, AbortSignal.any([signal, over.signal]))
        for await (const batch of batches(records, batchRecords, batchMs)) await this.#append(key, batch)
        return
      } catch (error) {
        signal.throwIfAborted()
        // Most likely the disk is full; the runtime holds the log meanwhile.
        log.warn({ err: error, task: found.task }, 'the log cannot be kept just now; trying again')
        await delay(retryMs, undefined, { signal })
      } finally {
        over.abort()
      }
    }
  }

  async #append(key: StreamKey, batch: readonly LogRecord[]): Promise<void> {
    const { streams, maxBytes = 2 * 1024 ** 3 } = this.#options
    const size = (await streams.size(key)) ?? 0
    if (size >= maxBytes) return
    const { size: after } = await streams.append(key, batch, 1)
    const last = batch.at(-1)
    if (after >= maxBytes && last)
      await streams.append(
        key,
        [
          {
            t: last.t,
            s: 'e',
            l: `[submarine] the log has reached ${maxBytes} bytes; no more of it is kept`,
          },
        ],
        1,
      )
  }

  /** Read from what is kept, so that a killed agent needs no other memory of it. */
  async #resume(key: StreamKey): Promise<LogResume | null> {
    const { streams, node } = this.#options
    if (!(await streams.size(key))) return null
    const times: string[] = []
    const tail = streams.read(key, { from: 0, tail: tailRecords, follow: false, nodes: [node] })
    for await (const { value } of tail) times.push((value as LogRecord).t)
    return LogCursor.after(times, times.length < tailRecords).resume()
  }
}

/** Groups what comes quickly, and never holds anything back for longer than `ms`. */
export async function* batches<T>(source: AsyncIterable<T>, most: number, ms: number): AsyncGenerator<T[]> {
  const iterator = source[Symbol.asyncIterator]()
  let next: Promise<IteratorResult<T>> | undefined
  try {
    for (;;) {
      const first = await (next ?? iterator.next())
      next = undefined
      if (first.done) return
      const batch = [first.value]
      const full = delay(ms).then(() => undefined)
      let ended = false
      while (batch.length < most && !ended) {
        next = iterator.next()
        // An error is thrown when its turn comes, after what came before it is written.
        next.catch(() => undefined)
        const item = await Promise.race([next.catch(() => undefined), full])
        if (!item) break
        if (item.done) ended = true
        else {
          batch.push(item.value)
          next = undefined
        }
      }
      yield batch
      if (ended) return
    }
  } finally {
    // Not awaited: it ends only when the record it waits for comes.
    iterator.return?.().catch(() => undefined)
  }
}
