import type { Logger } from 'pino'
import { attemptKey } from './key.ts'
import type { Observed } from './reconcile.ts'
import type { Found, Runtime } from './runtime.ts'
import type { AttemptFolders } from './task/folders.ts'
import type { AttemptRecords } from './task/records.ts'

export interface SweeperOptions {
  readonly runtimes: readonly Runtime[]
  readonly records: AttemptRecords
  readonly folders: AttemptFolders
  readonly log: Logger
  readonly graceSeconds?: number
  /** Something that still ran has ended. */
  readonly onEnded?: () => void
}

interface Leftover {
  readonly task: string
  readonly attempt: number
  readonly found?: { readonly runtime: Runtime; readonly found: Found }
}

/** Ends and forgets attempts that the cluster does not want here (any more): older ones, deleted ones, reported ones. */
export class Sweeper {
  readonly #options: SweeperOptions
  readonly #under = new Map<string, Promise<void>>()

  constructor(options: SweeperOptions) {
    this.#options = options
  }

  /** Begins with what `wanted` does not claim; returns before all of it is done. */
  async sweep(observed: Observed, wanted: (key: string) => boolean): Promise<void> {
    for (const [key, leftover] of await this.#leftovers(observed)) {
      if (wanted(key) || this.#under.has(key)) continue
      const done = this.#end(leftover)
        .catch((error: unknown) =>
          this.#options.log.warn({ err: error, ...leftover, found: undefined }, 'a leftover stays for now'),
        )
        .finally(() => this.#under.delete(key))
      this.#under.set(key, done)
    }
  }

  /** Resolves when nothing is being ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#under.values())
  }

  async #leftovers(observed: Observed): Promise<Map<string, Leftover>> {
    const { runtimes, records, folders } = this.#options
    const all = new Map<string, Leftover>()
    const add = (one: Leftover) => all.set(attemptKey(one.task, one.attempt), one)
    for (const { task, attempt } of await folders.all()) add({ task, attempt })
    for (const { task, attempt } of await records.all()) add({ task, attempt })
    // Last, because they say the most.
    for (const runtime of runtimes)
      for (const found of observed.get(runtime.name) ?? [])
        add({ task: found.task, attempt: found.attempt, found: { runtime, found } })
    return all
  }

  async #end({ task, attempt, found }: Leftover): Promise<void> {
    const { records, folders, log, onEnded, graceSeconds = 10 } = this.#options
    if (found) {
      log.info({ task, attempt, runtime: found.runtime.name }, 'ending an attempt that is not wanted here')
      if (!found.found.exit && found.found.startedAt !== null) {
        await found.runtime.stop(found.found, graceSeconds)
        onEnded?.()
      }
      await found.runtime.remove(found.found)
    }
    await folders.remove(task, attempt)
    await records.delete(task, attempt)
  }
}
