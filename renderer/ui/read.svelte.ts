import type { ProblemError } from '../../contract/problem.ts'
import { problemFrom } from '../api/client.ts'

/** One thing read from the API and read again on demand: the last answer stays visible meanwhile. */
export class Reading<T> {
  readonly #read: () => Promise<T>
  #value = $state.raw<T>()
  #problem = $state.raw<ProblemError>()
  #turn = 0

  constructor(read: () => Promise<T>) {
    this.#read = read
  }

  get value(): T | undefined {
    return this.#value
  }
  get problem(): ProblemError | undefined {
    return this.#problem
  }

  async refresh(): Promise<void> {
    const turn = ++this.#turn
    try {
      const value = await this.#read()
      // A slower answer to an earlier question must not win.
      if (turn !== this.#turn) return
      this.#value = value
      this.#problem = undefined
    } catch (error) {
      if (turn === this.#turn) this.#problem = problemFrom(error)
    }
  }
}
