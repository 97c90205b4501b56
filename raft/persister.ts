import type { Member } from './member.ts'
import type { Ready } from './node.ts'
import type { HardState, Index } from './types.ts'

/** Brings what a Ready says to the log store, one write at a time, and reports it back to the core. */
export class Persister {
  readonly #m: Member
  readonly #install: (ready: Ready, hard: HardState | undefined) => Promise<void>
  /** A Ready is being persisted; the next one hands out nothing that needs the disk. */
  #writing: Promise<void> | undefined
  /** A commit index that is not stored yet. It rides on the next write; a restart finds it again anyway. */
  #lazyHard: HardState | undefined
  /** The commit index must be stored at least up to here without waiting for a next write, and how far it is or will be. */
  #settleUpTo: Index = 0
  #settled: Index = 0

  constructor(m: Member, install: (ready: Ready, hard: HardState | undefined) => Promise<void>) {
    this.#m = m
    this.#install = install
  }

  get busy(): boolean {
    return this.#writing !== undefined
  }

  /** No write is under way any more. */
  async idle(): Promise<void> {
    await this.#writing
  }

  /** Before closing: nothing else rides on a later write any more. */
  async finish(): Promise<void> {
    if (this.#lazyHard) await this.#m.o.store.append([], this.#lazyHard, true)
  }

  persist(ready: Ready): void {
    if (!ready.persist) return
    if (ready.hard) this.#lazyHard = ready.hard
    if (!ready.mustSync && !ready.snapshot) {
      this.#persisted(ready)
      return
    }
    const hard = this.#takeHard()
    this.#begin(
      () => (ready.snapshot ? this.#install(ready, hard) : this.#append(ready, hard)),
      () => this.#persisted(ready),
    )
  }

  /**
   * The members changed at this applied index. Forgetting that in a power cut could be for ever: who goes by the old
   * members again may need the vote of one that is gone for good.
   */
  settle(index: Index): void {
    this.#settleUpTo = Math.max(this.#settleUpTo, index)
    if (this.busy || this.#settled >= this.#settleUpTo) return
    if ((this.#lazyHard?.commit ?? 0) < this.#settleUpTo) return // it comes with a next Ready
    const hard = this.#takeHard()
    this.#begin(
      () => this.#m.o.store.append([], hard, true),
      () => {},
    )
  }

  #takeHard(): HardState | undefined {
    const hard = this.#lazyHard
    this.#lazyHard = undefined
    this.#settled = Math.max(this.#settled, hard?.commit ?? 0)
    return hard
  }

  #begin(write: () => Promise<void>, done: () => void): void {
    this.#writing = write().then(
      () => {
        this.#writing = undefined
        if (this.#m.stopped) return
        this.#m.guard(done)
        this.#m.schedule()
      },
      (e: unknown) => {
        this.#writing = undefined
        this.#m.fatal(e)
      },
    )
  }

  #persisted(ready: Ready): void {
    this.#m.node.persisted(ready)
    this.#m.send(ready.afterSync)
  }

  async #append(ready: Ready, hard: HardState | undefined): Promise<void> {
    const { env, metrics, o } = this.#m
    const start = env.now()
    await o.store.append(ready.entries, hard, true)
    metrics.synced(env.now() - start, ready.entries.length)
  }
}
