import type { Logger } from 'pino'
import type { Cluster } from '../../cluster/cluster.ts'
import type { TaskSecret } from '../../cluster/secret-access.ts'
import type { TaskRow } from '../../cluster/state.ts'
import type { Blobs, Space, Streams } from '../../store/store.ts'
import type { Runtime } from '../runtime.ts'
import type { AttemptFolders } from './folders.ts'
import type { AttemptRecords } from './records.ts'
import type { Reports } from './reports.ts'

/** What the runner of an attempt works with. */
export interface RunnerContext {
  readonly cluster: Pick<Cluster, 'state'>
  readonly blobs: Blobs
  readonly streams: Streams
  readonly space: Space
  readonly runtime: Runtime
  /** How a task of this runtime reaches its agent. */
  readonly api: { readonly url: string; readonly caFile: string | undefined }
  readonly records: AttemptRecords
  readonly folders: AttemptFolders
  readonly reports: Reports
  readonly node: string
  /** Opens a secret of a task of this node: base64. */
  readonly secretFor?: ((asked: TaskSecret) => Promise<string>) | undefined
  /** Keeps the leases of this node; absent where there are none to keep. */
  readonly leases?: Leases | undefined
  /** Folder for files that exist for a moment. */
  readonly scratch: string
  readonly log: Logger
  readonly timing: RunnerTiming
}

export interface Leases {
  /** Throws when the lease of what is to start is over: it may be tried again when this node is heard. */
  begin(task: TaskRow): void
  /** It runs here, whoever started it. */
  holds(task: TaskRow): void
  /** The keeper ended it, in place of the agent. */
  endedByKeeper(task: string, attempt: number): boolean
  forget(task: string, attempt: number): void
}

/** All in ms. */
export interface RunnerTiming {
  /** Between SIGTERM and SIGKILL. */
  readonly grace: number
  /** Before something that failed is tried again. */
  readonly retry: number
  /** How long an engine that does not answer, or a lost copy of the code, is waited for before a start fails. */
  readonly startPatience: number
  /** How long a second node is waited for before what one node holds is reported. */
  readonly copyPatience: number
  /** How long output that cannot be kept is tried again. */
  readonly keepPatience: number
  /** How long the log of an ended attempt may take to be read. */
  readonly drain: number
  /** Between looks at the devices that a task with GPUs sees. */
  readonly devices: number
}

export const defaultTiming: RunnerTiming = {
  grace: 10_000,
  retry: 2000,
  startPatience: 120_000,
  copyPatience: 30_000,
  keepPatience: 300_000,
  drain: 60_000,
  devices: 60_000,
}
