import { setTimeout as delay } from 'node:timers/promises'

/** What the promise gives, or an error that names who did not answer in time. */
export async function within<T>(ms: number, promise: Promise<T>, who: string): Promise<T> {
  const answered = new AbortController()
  const late = delay(ms, undefined, { signal: answered.signal }).then(() => {
    throw new Error(`no answer from ${who} within ${ms / 1000} s`)
  })
  // Called off when the answer comes first.
  late.catch(() => undefined)
  try {
    return await Promise.race([promise, late])
  } finally {
    answered.abort()
  }
}
