import type { Member } from './member.ts'

/** More ticks than this are not made up for: after a stall the world is asked first, not the clock. */
const MAX_TICKS_AT_ONCE = 2

/** Turns time into ticks. `onTick` follows each timer's ticks, for whatever else waits for time to pass. */
export class Clock {
  readonly #m: Member
  readonly #onTick: () => void
  readonly stop: () => void
  #lastTick: number

  constructor(m: Member, onTick: () => void) {
    this.#m = m
    this.#onTick = onTick
    this.#lastTick = m.env.now()
    this.stop = m.env.every(m.options.tickMs, () => this.#onTimer())
  }

  /** Ticks wait for input that has already arrived: a heartbeat in the socket must count before the timeout does. */
  #onTimer(): void {
    const { env, metrics, node } = this.#m
    const { tickMs } = this.#m.options
    const due = Math.floor((env.now() - this.#lastTick) / tickMs)
    if (due <= 0) return
    this.#lastTick += due * tickMs
    const ticks = Math.min(due, MAX_TICKS_AT_ONCE)
    metrics.ticksDropped += due - ticks
    env.defer(() => {
      if (this.#m.stopped) return
      this.#m.guard(() => {
        for (let i = 0; i < ticks; i++) node.tick()
        this.#onTick()
      })
      this.#m.schedule()
    })
  }
}
