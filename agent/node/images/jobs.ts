import type { Logger } from 'pino'
import { ProblemError, type Reason } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import { garbage, policyOf } from '../../cluster/images.ts'
import type { ImageJobRow } from '../../cluster/state.ts'
import { messageOf, statusOf } from '../docker/engine.ts'
import type { EngineImages } from '../docker/image.ts'
import { StartFailure } from '../runtime.ts'
import type { ImageReporter } from './reporter.ts'

export interface ImageJobsOptions {
  readonly cluster: Pick<Cluster, 'self' | 'state' | 'propose' | 'onApplied' | 'status' | 'barrier'>
  readonly images: Pick<EngineImages, 'ensure' | 'remove'>
  readonly reporter: Pick<ImageReporter, 'check'>
  readonly log: Pick<Logger, 'info' | 'warn'>
  readonly periodMs?: number
  readonly collectEveryMs?: number
  readonly now?: () => number
}

/** Does with images what this node was asked to by the log, and frees what nobody uses any more. */
export class ImageJobs {
  readonly #options: ImageJobsOptions
  readonly #stopped = new AbortController()
  readonly #running = new Map<string, Promise<void>>()
  #unsubscribe: () => void = () => undefined
  #timers: NodeJS.Timeout[] = []
  #collecting: Promise<void> | undefined

  constructor(options: ImageJobsOptions) {
    this.#options = options
  }

  start(): void {
    const { cluster, periodMs = 10_000, collectEveryMs = 10 * 60_000 } = this.#options
    this.#unsubscribe = cluster.onApplied(({ changed, restored }) => {
      if (restored || changed.has('imageJobs')) this.#look()
    })
    this.#timers = [
      setInterval(() => this.#look(), periodMs),
      setInterval(() => {
        this.#collecting ??= this.collect().finally(() => (this.#collecting = undefined))
      }, collectEveryMs),
    ]
    this.#look()
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#unsubscribe()
    this.#timers.forEach(clearInterval)
    await Promise.all([...this.#running.values(), this.#collecting])
  }

  #look(): void {
    const { cluster } = this.#options
    if (this.#stopped.signal.aborted) return
    for (const [key, job] of cluster.state().imageJobs) {
      if (job.node !== cluster.self.node || job.reason || this.#running.has(key)) continue
      const done = this.#do(job).finally(() => this.#running.delete(key))
      this.#running.set(key, done)
    }
  }

  async #do(job: ImageJobRow): Promise<void> {
    const { reporter, log } = this.#options
    try {
      const reason = await this.#try(job)
      await reporter.check()
      await this.#tell(job, reason)
    } catch (err) {
      // Looked at again soon: the engine is down, or there is no leader to tell.
      if (!this.#stopped.signal.aborted)
        log.warn({ err, image: job.image }, 'an image could not be seen to just now')
    }
  }

  /** Why it cannot be done; undefined when it is. Throws what may pass. */
  async #try({ kind, image }: ImageJobRow): Promise<Reason | undefined> {
    const { images } = this.#options
    try {
      if (kind === 'pull') await images.ensure(image, { signal: this.#stopped.signal })
      else await images.remove(image)
      return undefined
    } catch (error) {
      this.#stopped.signal.throwIfAborted()
      if (error instanceof StartFailure) return { code: error.code, message: error.message }
      if (kind === 'remove' && statusOf(error) === 409)
        return {
          code: 'image_in_use',
          message: `a container of this host was made of it: ${messageOf(error)}`,
        }
      throw error
    }
  }

  async #tell({ node, image }: ImageJobRow, reason: Reason | undefined): Promise<void> {
    const { cluster } = this.#options
    await cluster.propose(
      { type: 'image.done', node, image, ...(reason ? { reason } : {}) },
      { kind: 'node', node },
    )
  }

  /** One round of freeing what the policy lets go: of this engine, and, by the leader, of the cluster. Never throws. */
  async collect(): Promise<void> {
    const { cluster, images, reporter, log, now = Date.now } = this.#options
    try {
      // A replica that lags lacks what was asked for meanwhile: it must not judge.
      await cluster.barrier()
      const state = cluster.state()
      const found = garbage(state, policyOf(state), now())
      const ours = found.engines.filter(({ node }) => node === cluster.self.node)
      for (const { image } of ours) {
        await images.remove(image.id).catch((error: unknown) => {
          // A container of somebody else was made of it.
          if (statusOf(error) !== 409) throw error
        })
        log.info({ image: image.names[0] ?? image.id }, 'removed an image that nobody used')
      }
      if (ours.length) await reporter.check()
      if (cluster.status().isLeader) for (const { digest } of found.cluster) await this.#drop(digest)
    } catch (err) {
      if (!this.#stopped.signal.aborted) log.warn({ err }, 'unused images could not be freed just now')
    }
  }

  async #drop(digest: string): Promise<void> {
    try {
      await this.#options.cluster.propose({ type: 'image.remove', digest }, { kind: 'system' })
    } catch (error) {
      // Wanted since it was looked at: it stays.
      if (!(error instanceof ProblemError && ['conflict', 'not_found'].includes(error.code))) throw error
    }
  }
}
