import type { Resources, RuntimeName } from '../../contract/index.ts'
import type { LogRecord } from '../store/store.ts'

/** What runs an attempt's command on this host: a Docker Engine, or plain processes without isolation. */
export interface Runtime {
  readonly name: RuntimeName
  /** Create and start; the start intent is on disk before anything is created. Throws ProblemError with what to do. */
  start(launch: Launch): Promise<Found>
  /** Every attempt of this cluster and node that the host still knows, running or ended. */
  list(): Promise<Found[]>
  /** Resolves when it has ended. */
  wait(found: Found, signal: AbortSignal): Promise<Exit>
  /** SIGTERM, then SIGKILL after the grace; resolves when it has ended. */
  stop(found: Found, graceSeconds: number): Promise<void>
  /** Forget an ended attempt: its container, its files outside the task folder. */
  remove(found: Found): Promise<void>
  /** Log records after `last` (without gap or repeat), then new ones until the attempt ends. */
  log(found: Found, last: LogRecord | undefined, signal: AbortSignal): AsyncIterable<LogRecord>
}

export interface Launch {
  readonly task: string
  readonly attempt: number
  readonly workload: string
  readonly image: string | null
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly resources: Resources
  readonly gpus: readonly string[]
  /** Folders of this host: shown to the task as /code and /output. */
  readonly codeFolder: string
  readonly outputFolder: string
}

export interface Found {
  readonly task: string
  readonly attempt: number
  /** Container id, or pid with its start time. */
  readonly handle: string
  readonly startedAt: string
  readonly exit: Exit | null
}

export interface Exit {
  readonly exitCode: number | null
  readonly oomKilled: boolean
  /** Set when it never ran: what went wrong and what to do. */
  readonly failure: { readonly code: string; readonly message: string } | null
  readonly finishedAt: string
}
