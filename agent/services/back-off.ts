import { ProblemError } from '../../contract/index.ts'

/** `rate_limited`, and after how many seconds to come back. */
export class RateLimited extends ProblemError {
  readonly retryAfter: number
  constructor(detail: string, retryAfter: number) {
    super('rate_limited', detail)
    this.retryAfter = retryAfter
  }
}

interface Failures {
  count: number
  until: number
  forgetAt: number
}

const free = 5
const longestMs = 60_000
const keepMs = 15 * 60_000
const most = 10_000

/**
 * Slows down guessing. It counts by user and address together, so a colleague who forgot a password (or somebody on
 * another host who guesses) delays nobody else behind the office's one address, and no wait is longer than a minute.
 */
export class BackOff {
  readonly #now: () => number
  readonly #failures = new Map<string, Failures>()

  constructor(now: () => number) {
    this.#now = now
  }

  /** Throws RateLimited while this user must wait at this address. */
  check(user: string, address: string): void {
    const wait = (this.#failures.get(keyOf(user, address))?.until ?? 0) - this.#now()
    if (wait <= 0) return
    const seconds = Math.ceil(wait / 1000)
    throw new RateLimited(`too many wrong passwords: try again in ${seconds} s`, seconds)
  }

  failed(user: string, address: string): void {
    const now = this.#now()
    const key = keyOf(user, address)
    const known = this.#failures.get(key)
    const count = known && known.forgetAt > now ? known.count + 1 : 1
    const delay = count < free ? 0 : Math.min(1000 * 2 ** (count - free), longestMs)
    this.#failures.delete(key)
    this.#failures.set(key, { count, until: now + delay, forgetAt: now + keepMs })
    this.#forget(now)
  }

  succeeded(user: string, address: string): void {
    this.#failures.delete(keyOf(user, address))
  }

  /** The map is in order of the last failure, so the oldest stand first. */
  #forget(now: number): void {
    for (const [key, { forgetAt }] of this.#failures) {
      if (forgetAt > now && this.#failures.size <= most) return
      this.#failures.delete(key)
    }
  }
}

const keyOf = (user: string, address: string) => `${user}\n${address}`
