import type { DriverOptions, OpenOptions } from './driver-api.ts'
import type { Env } from './env.ts'
import type { Metrics } from './metrics.ts'
import type { RaftNode } from './node.ts'
import type { Message } from './types.ts'

/** What the driver's parts share: one member's core, its surroundings, and the ways to make it go on or stop. */
export interface Member {
  readonly o: OpenOptions
  readonly options: DriverOptions
  readonly env: Env
  readonly node: RaftNode
  readonly metrics: Metrics
  /** Nothing may be started any more. */
  readonly stopped: boolean
  /** An error that ended it; what is pending must not be written. */
  readonly failed: Error | undefined
  send(messages: readonly Message[]): void
  /** Looks for work soon. */
  schedule(): void
  /** Runs f; an error ends the member. */
  guard(f: () => void): void
  fatal(e: unknown): void
  /** Tells the listeners of a change of leader, role or members. */
  notify(): void
}
