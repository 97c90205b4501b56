import type { MetricSeries } from '../../../contract/objects.ts'
import type { ProblemError } from '../../../contract/problem.ts'
import { type Api, problemFrom } from '../../api/client.ts'
import { sleep } from '../../api/retry.ts'

const everyMs = 1500
const maxPoints = 2000

/** Metric series of one experiment, read again and again while it runs and once more when it has ended. */
export class MetricsFeed {
  readonly #api: Api
  #series = $state.raw<readonly MetricSeries[]>()
  #problem = $state.raw<ProblemError>()
  #stop: AbortController | undefined

  constructor(api: Api) {
    this.#api = api
  }

  get series(): readonly MetricSeries[] | undefined {
    return this.#series
  }
  get problem(): ProblemError | undefined {
    return this.#problem
  }

  open(id: string, running: boolean): void {
    this.close()
    const { signal } = (this.#stop = new AbortController())
    void this.#poll(id, running, signal)
  }

  close(): void {
    this.#stop?.abort()
  }

  async #poll(id: string, running: boolean, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const query = { max_points: maxPoints }
        const { series } = await this.#api.call('experiments.metrics', {
          params: { experiment: id },
          query,
          signal,
        })
        if (signal.aborted) return
        this.#series = series
        this.#problem = undefined
        if (!running) return
      } catch (error) {
        if (signal.aborted) return
        this.#problem = problemFrom(error)
        if (this.#problem.code === 'unauthenticated' || this.#problem.code === 'not_found') return
      }
      // A hidden page measures nothing.
      do await sleep(everyMs, signal)
      while (document.hidden && !signal.aborted)
    }
  }
}
