import { ProblemError } from '../../contract/problem.ts'

export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>

/** Resolves after `ms`, at once when `signal` aborts: the caller looks at the signal itself. */
export const sleep: Sleep = (ms, signal) =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })

/** 0.4, 0.8, 1.6 … 8 seconds. */
export const backOff = (failures: number): number => Math.min(8000, 400 * 2 ** Math.min(failures, 10))

/** Failures that pass by themselves: an election takes about a second. */
export const isPassing = (error: unknown): error is ProblemError =>
  error instanceof ProblemError &&
  (error.code === 'no_leader' || error.code === 'busy' || error.code === 'outcome_unknown')

export interface RetryOptions {
  readonly attempts: number
  readonly signal?: AbortSignal | undefined
  readonly sleep?: Sleep
}

export async function withRetry<T>(operation: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let failures = 0; ; failures++)
    try {
      return await operation()
    } catch (error) {
      if (!isPassing(error) || failures + 1 >= options.attempts || options.signal?.aborted) throw error
      await (options.sleep ?? sleep)(backOff(failures), options.signal)
    }
}
