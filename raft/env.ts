import { randomBytes } from 'node:crypto'

/** Time and chance for the driver. A simulation passes its own. */
export interface Env {
  /** Milliseconds on a clock that never jumps. */
  now(): number
  /** In [0, 1). */
  random(): number
  /** Both return a function that cancels. */
  every(ms: number, f: () => void): () => void
  after(ms: number, f: () => void): () => void
  /** Runs f soon, after the input that is already waiting: what it brings is handled as one batch. */
  defer(f: () => void): void
}

/** The clock, timers and randomness of this process. */
export const systemEnv: Env = {
  now: () => performance.now(),
  random: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  every(ms, f) {
    const timer = setInterval(f, ms)
    return () => clearInterval(timer)
  },
  after(ms, f) {
    const timer = setTimeout(f, ms)
    return () => clearTimeout(timer)
  },
  defer: (f) => void setImmediate(f),
}
