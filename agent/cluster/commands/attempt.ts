import type { Reason } from '../../../contract/index.ts'
import type { Eviction } from '../state.ts'

/** What ends attempts before their time. */
export type AttemptCommand =
  /** A waiting workload of a higher class takes the place of others; `nominate`: where it will go then. */
  | {
      type: 'workload.preempt'
      id: string
      victims: readonly Victim[]
      reason: Reason
      nominate?: readonly { readonly task: string; readonly node: string; readonly gpus: readonly string[] }[]
    }
  /** Tasks leave their nodes, each with the whole of its gang. */
  | {
      type: 'workload.evict'
      id: string
      tasks: readonly string[]
      eviction: Omit<Eviction, 'at' | 'grace_seconds'> & { readonly grace_seconds?: number }
    }
  /**
   * Nothing more is expected from an attempt's node. `unstarted`: only if the cluster never heard that it begins, for
   * then it cannot have.
   */
  | { type: 'task.lost'; task: string; attempt: number; reason: Reason; unstarted?: boolean }
  /** The GPUs of a running task, or its node when it has none, do nothing since then. */
  | { type: 'task.idle'; task: string; attempt: number; idle_seconds: number }

/** Whole, or only those tasks of an array. */
export interface Victim {
  readonly workload: string
  readonly tasks?: readonly string[]
}
