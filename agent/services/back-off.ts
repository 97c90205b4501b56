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

interface Patience {
  /** Failures that cost nothing. */
  readonly free: number
  /** The longest wait, ms. */
  readonly longest: number
}

/** Of one person at one address. */
const ofPair: Patience = { free: 5, longest: 60_000 }
/** Of all people at one address: an office has one, and on Monday everybody mistypes. */
const ofAddress: Patience = { free: 500, longest: 10_000 }
/** Of one person, wherever from: many hosts may guess together. */
const ofUser: Patience = { free: 50, longest: 10_000 }
const keepMs = 15 * 60_000
const most = 30_000

/**
 * Slows down guessing, and locks out nobody. It counts by user and address together, so a colleague who forgot a password
 * (or somebody on another host who guesses) delays nobody else behind the office's one address. Beyond what an office
 * could mistype, it counts by address and by user alone too; who has signed in from there before does not wait for those.
 * No wait is longer than a minute.
 */
export class BackOff {
  readonly #now: () => number
  readonly #failures = new Map<string, Failures>()

  constructor(now: () => number) {
    this.#now = now
  }

  /** Throws RateLimited while this user must wait at this address. `isKnown`: they signed in from there before. */
  check(user: string, address: string, isKnown: () => boolean = () => false): void {
    this.#check(pairOf(user, address), 'too many wrong passwords')
    const [byAddress, byUser] = [`address\n${address}`, `user\n${user}`]
    if (this.#waits(byAddress) <= 0 && this.#waits(byUser) <= 0) return
    if (isKnown()) return
    this.#check(byAddress, 'too many wrong passwords from your address')
    this.#check(byUser, 'too many wrong passwords for this name')
  }

  failed(user: string, address: string): void {
    const now = this.#now()
    this.#count(pairOf(user, address), now, ofPair)
    this.#count(`address\n${address}`, now, ofAddress)
    this.#count(`user\n${user}`, now, ofUser)
    this.#forget(now)
  }

  succeeded(user: string, address: string): void {
    this.#failures.delete(pairOf(user, address))
  }

  #waits(key: string): number {
    return (this.#failures.get(key)?.until ?? 0) - this.#now()
  }

  #check(key: string, why: string): void {
    const wait = this.#waits(key)
    if (wait <= 0) return
    const seconds = Math.ceil(wait / 1000)
    throw new RateLimited(`${why}: try again in ${seconds} s`, seconds)
  }

  #count(key: string, now: number, { free, longest }: Patience): void {
    const known = this.#failures.get(key)
    const count = known && known.forgetAt > now ? known.count + 1 : 1
    const delay = count < free ? 0 : Math.min(1000 * 2 ** (count - free), longest)
    this.#failures.delete(key)
    this.#failures.set(key, { count, until: now + delay, forgetAt: now + keepMs })
  }

  /** The map is in order of the last failure, so the oldest stand first. */
  #forget(now: number): void {
    for (const [key, { forgetAt }] of this.#failures) {
      if (forgetAt > now && this.#failures.size <= most) return
      this.#failures.delete(key)
    }
  }
}

const pairOf = (user: string, address: string) => `both\n${user}\n${address}`

/** So many requests of one address in a minute, and no more. */
export class Rate {
  readonly #now: () => number
  readonly #most: number
  #minute = 0
  readonly #counts = new Map<string, number>()

  constructor(now: () => number, most: number) {
    this.#now = now
    this.#most = most
  }

  /** Throws RateLimited. */
  count(address: string): void {
    const now = this.#now()
    const minute = Math.floor(now / 60_000)
    if (minute !== this.#minute) this.#counts.clear()
    this.#minute = minute
    const count = (this.#counts.get(address) ?? 0) + 1
    this.#counts.set(address, count)
    if (count <= this.#most) return
    const seconds = Math.max(1, Math.ceil(((minute + 1) * 60_000 - now) / 1000))
    throw new RateLimited(`too many sign-ins from your address: try again in ${seconds} s`, seconds)
  }
}
