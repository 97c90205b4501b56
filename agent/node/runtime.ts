import type { ContainerAsks, Reason, Resources, RuntimeName } from '../../contract/index.ts'
import type { LogRecord } from '../store/store.ts'

/** What runs an attempt's command on this host: a Docker Engine, or plain processes without isolation. */
export interface Runtime {
  readonly name: RuntimeName
  /**
   * Create and start; what was created but not started by an agent that died is started, so a repeat starts nothing
   * twice. Throws StartFailure when it can never start, anything else when it may work later.
   */
  start(launch: Launch, signal?: AbortSignal): Promise<Found>
  /** Every attempt of this cluster and node that the host still knows, running or ended. */
  list(): Promise<Found[]>
  /** Resolves when it has ended, or when nothing is left of it (`failure`). */
  wait(found: Found, signal: AbortSignal): Promise<Exit>
  /** What is wrong with the devices that a running attempt sees; absent where nothing keeps it from all of them. */
  wrongDevices?(found: Found, gpus: readonly string[]): Promise<Reason | undefined>
  /** SIGTERM, then SIGKILL after the grace; resolves when it has ended. */
  stop(found: Found, graceSeconds: number): Promise<void>
  /** Forget an ended attempt: its container, its files outside the task folder. */
  remove(found: Found): Promise<void>
  /** Log records from `resume` on (without gap or repeat), then new ones until the attempt ended and all are told. */
  log(found: Found, resume: LogResume | null, signal: AbortSignal): AsyncIterable<LogRecord>
}

/** Whose work it is: a person of the cluster, and the user id of their containers. */
export interface Person {
  readonly name: string
  readonly uid: number
}

export interface Launch {
  readonly task: string
  readonly attempt: number
  readonly workload: string
  readonly image: string | null
  readonly command: readonly string[]
  /** SUBMARINE_OUTPUT and SUBMARINE_CA are added by the runtime: it knows where the task sees them. */
  readonly env: Readonly<Record<string, string>>
  readonly resources: Resources
  readonly gpus: readonly string[]
  readonly person: Person
  /** It is one of several tasks, which may talk to each other. */
  readonly gang?: boolean
  /** What it is given and nobody is told; `folder` lies in memory. */
  readonly secrets?: {
    readonly env: Readonly<Record<string, string>>
    readonly folder: string
    /** A Kerberos ticket lies there. */
    readonly ticket?: boolean
  }
  /** What of the host it asks for, and its owner was allowed. */
  readonly asks: ContainerAsks
  /** Folders of this host: shown to the task as /code and /output, or as they are where there is no container. */
  readonly codeFolder: string
  readonly outputFolder: string
  /** A folder of this host for what the runtime makes for this attempt: its user's home, for one. */
  readonly ownFolder: string
  /** The cluster's CA certificate, a file of this host that the task may read. */
  readonly caFile: string | null
  /** Called when its image has to be brought to this host first, and then as it comes. */
  readonly onPull?: (image: string, progress: { bytes: number; total: number | null }) => void
}

export interface Found {
  readonly task: string
  readonly attempt: number
  /** Container id, or the attempt's process folder. */
  readonly handle: string
  /** Digest of the image it was made of, as the engine names it. */
  readonly imageId?: string
  /** null: created, but not started yet. */
  readonly startedAt: string | null
  readonly exit: Exit | null
}

export interface Exit {
  readonly exitCode: number | null
  readonly oomKilled: boolean
  /** Set when it has no exit code of its own: what went wrong and what to do. */
  readonly failure: { readonly code: string; readonly message: string } | null
  readonly finishedAt: string
}

/**
 * Where to go on reading a log. A runtime tells its records always in the same order, so those kept so far are the
 * first ones: of the records with a time of `since` or later the first `skip` are kept, none of them later than
 * `until`. (Times alone would not do: they may repeat, and two streams' records may stand out of order.)
 */
export interface LogResume {
  /** null: from the beginning. */
  readonly since: string | null
  readonly skip: number
  readonly until: string
}

/** The attempt cannot be started on this host: the reason code and what to do, for people. */
export class StartFailure extends Error {
  readonly code: string
  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'StartFailure'
    this.code = code
  }
}
