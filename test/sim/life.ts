import type { Env } from '../../raft/env.ts'
import type { World } from './world.ts'

/** Never settles: what a promise of a dead process does. One each, since what waits for it is kept as long as it is. */
export const never = () => new Promise<never>(() => {})

/**
 * One life of a process, from start to crash. Whatever happens to it from outside goes through `enter`: nothing after
 * its death, nothing during a pause, and all that waited when it goes on.
 */
export class Life {
  readonly #world: World
  alive = true
  #pausedUntil = 0
  #waiting: (() => void)[] = []
  /** This machine's seconds per real one, and what its clock was moved by. */
  readonly #rate: number
  #offset: number
  #deaths: (() => void)[] = []

  constructor(world: World) {
    this.#world = world
    this.#rate = world.rng.core.between(0.9, 1.1)
    this.#offset = world.rng.core.between(0, 1e6)
  }

  get paused(): boolean {
    return this.#pausedUntil > this.#world.now
  }

  /** Runs f now, after the pause, or never. */
  enter(f: () => void): void {
    if (!this.alive) return
    if (this.paused) this.#waiting.push(f)
    else f()
  }

  schedule(delay: number, f: () => void): void {
    this.#world.clock.schedule(delay, () => this.enter(f))
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.schedule(ms, resolve))
  }

  onDeath(f: () => void): void {
    if (this.alive) this.#deaths.push(f)
    else f()
  }

  die(): void {
    if (!this.alive) return
    this.alive = false
    this.#waiting = []
    for (const f of this.#deaths) f()
  }

  /** SIGSTOP: it does not know. */
  pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#world.now + ms)
    this.#world.clock.schedule(ms, () => this.#goOn())
  }

  /** SIGCONT: timers and input that are due meet a process that believes no time has passed. */
  goOn(): void {
    this.#pausedUntil = 0
    this.#goOn()
  }

  #goOn(): void {
    if (this.paused) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const f of waiting) this.schedule(0, f)
  }

  jump(ms: number): void {
    this.#offset += ms
  }

  env(): Env {
    const { rng } = this.#world
    const timer = (ms: number, f: () => void, repeat: boolean) => {
      let on = true
      const arm = () =>
        this.schedule(ms / this.#rate, () => {
          if (!on) return
          if (repeat) arm()
          f()
        })
      arm()
      return () => void (on = false)
    }
    return {
      now: () => this.#world.now * this.#rate + this.#offset,
      random: () => rng.core.float(),
      every: (ms, f) => timer(ms, f, true),
      after: (ms, f) => timer(ms, f, false),
      defer: (f) => this.schedule(rng.core.float() * 0.2, f),
    }
  }
}
