import type { Env } from './env.ts'
import { RaftError, type Index } from './types.ts'

interface Waiter {
  readonly resolve: (index: Index) => void
  readonly reject: (e: Error) => void
  readonly deadline: number
  done: boolean
}

interface Round {
  readonly waiters: Waiter[]
  readonly retryAt: number
}

/** Barriers of this process: grouped into rounds, each with an id of its own, then held until the index is applied. */
export class Reads {
  readonly #env: Env
  readonly #retryMs: number
  readonly #ask: (id: string) => boolean
  readonly #prefix: string
  #counter = 0
  #waiting: Waiter[] = []
  readonly #rounds = new Map<string, Round>()
  /** Confirmed, not yet applied here. */
  #confirmed: { index: Index; waiters: Waiter[] }[] = []

  constructor(env: Env, retryMs: number, ask: (id: string) => boolean) {
    this.#env = env
    this.#retryMs = retryMs
    this.#ask = ask
    // Random, so that an answer meant for this member before a restart is nobody's.
    this.#prefix = Math.floor(env.random() * 2 ** 48).toString(36)
  }

  barrier(timeoutMs: number): Promise<Index> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, deadline: this.#env.now() + timeoutMs, done: false })
    })
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0
  }

  /** Starts a round for everybody who waits. Later callers need a later round. */
  flush(): void {
    if (this.#waiting.length === 0) return
    const id = `${this.#prefix}.${this.#counter++}`
    if (!this.#ask(id)) return
    this.#rounds.set(id, { waiters: this.#waiting, retryAt: this.#env.now() + this.#retryMs })
    this.#waiting = []
  }

  onRead(id: string, index: Index, applied: Index): void {
    const round = this.#rounds.get(id)
    if (!round) return
    this.#rounds.delete(id)
    this.#confirmed.push({ index, waiters: round.waiters })
    this.onApplied(applied)
  }

  onApplied(applied: Index): void {
    if (this.#confirmed.length === 0) return
    const rest = this.#confirmed.filter(({ index }) => index > applied)
    const done = this.#confirmed.filter(({ index }) => index <= applied)
    this.#confirmed = rest
    for (const { index, waiters } of done) for (const w of waiters) this.#finish(w)?.resolve(index)
  }

  /** Messages may be lost, and a deposed leader answers nobody: ask again under a new id. */
  retry(all: boolean): void {
    const now = this.#env.now()
    for (const [id, round] of this.#rounds) {
      if (!all && round.retryAt > now) continue
      this.#rounds.delete(id)
      this.#waiting.push(...round.waiters.filter((w) => !w.done))
    }
  }

  /** On each tick: whose time is over, and rounds that were not answered. */
  tick(): void {
    const now = this.#env.now()
    for (const w of this.#all())
      if (w.deadline <= now) this.#fail(w, new RaftError('no_leader', 'no leader confirmed the read in time'))
    this.#waiting = this.#waiting.filter((w) => !w.done)
    this.retry(false)
  }

  *#all(): Generator<Waiter> {
    yield* this.#waiting
    for (const { waiters } of this.#rounds.values()) yield* waiters
    for (const { waiters } of this.#confirmed) yield* waiters
  }

  stop(error: Error): void {
    const all = [...this.#all()]
    this.#waiting = []
    this.#rounds.clear()
    this.#confirmed = []
    for (const w of all) this.#fail(w, error)
  }

  #fail(w: Waiter, error: Error): void {
    this.#finish(w)?.reject(error)
  }

  #finish(w: Waiter): Waiter | undefined {
    if (w.done) return undefined
    w.done = true
    return w
  }
}
