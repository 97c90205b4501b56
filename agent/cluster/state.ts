import type { Map } from 'immutable'
import type {
  ExperimentSpec,
  Inventory,
  Rank,
  Reason,
  Resources,
  RuntimeName,
  State as RunState,
} from '../../contract/index.ts'

/**
 * The replicated state: live tables of immutable rows. `apply` makes a new State and shares everything unchanged,
 * so a snapshot for the planner, a request or a watch is the reference itself.
 */
export type State = { readonly [T in TableName]: Map<string, Rows[T]> }

/** What every row carries: the raft index of its last change, its version for ETags and watches. */
interface Versioned {
  readonly resource_version: number
}

export interface ClusterRow extends Versioned {
  readonly id: string
  readonly name: string
  readonly created_at: string
  /** The cluster's CA certificate, PEM. */
  readonly ca: string
  /** The CA's private key, sealed by the cluster key: only voters can open it. */
  readonly sealed_ca_key: string
  /** Member ids are handed out in order and never used again. */
  readonly next_member: number
  /** Node id of the last leader that lasted: only a change is worth an event. */
  readonly leader?: string
}

export interface UserRow extends Versioned {
  readonly name: string
  readonly rank: Rank
  /** PHC string. */
  readonly password_hash: string
  readonly created_at: string
}

/** A sign-in or API token; only its SHA-256 is known. The key is that digest. */
export interface TokenRow extends Versioned {
  readonly user: string
  readonly created_at: string
  readonly expires_at: string
}

/** A one-use invitation for one host. The key is the SHA-256 of its secret. */
export interface JoinTokenRow extends Versioned {
  readonly expires_at: string
}

export interface NodeRow extends Versioned {
  readonly id: string
  readonly name: string
  readonly member: number
  /** HOST:PORT under which the other agents reach it. */
  readonly address: string
  readonly joined_at: string
  readonly inventory: Inventory | null
  /** Detected minus the reserve, or the explicit share. */
  readonly allocatable: Resources | null
  /** UUIDs of the GPUs it may hand out. */
  readonly gpus: readonly string[]
  /** As the leader judged; absent or null while it answers. For people, never for decisions. */
  readonly unreachable_since?: string | null
  /** What is wrong with its copy of the state; absent or null when nothing is known to be. */
  readonly state_differs?: string | null
}

export interface ExperimentRow extends Versioned {
  readonly id: string
  readonly name: string
  readonly owner: string
  readonly spec: ExperimentSpec
  /** Absent until somebody writes them. */
  readonly description?: string
  readonly tags?: Readonly<Record<string, string>>
  readonly state: RunState
  readonly reason: Reason | null
  readonly stop_requested: boolean
  readonly created_at: string
  readonly started_at: string | null
  readonly finished_at: string | null
  /** Ids of its tasks, in rank order. */
  readonly tasks: readonly string[]
}

/** What was kept of an attempt, and on which nodes. */
export interface Kept {
  readonly files: number
  readonly bytes: number
  /** Digest of the artifact manifest blob (one JSON line per file), or of the sealed stream. */
  readonly sha256: string
  readonly holders: readonly string[]
}

export interface TaskRow extends Versioned {
  readonly id: string
  /** The experiment it belongs to; later also sessions and endpoints. */
  readonly workload: string
  readonly role: string
  readonly index: number
  readonly state: RunState
  readonly reason: Reason | null
  readonly resources: Resources
  /** 0 before the first placement; fences every write of an older attempt. */
  readonly attempt: number
  readonly node: string | null
  readonly runtime: RuntimeName | null
  readonly gpus: readonly string[]
  /** SHA-256 of the token the running attempt may call the API with; it dies with the attempt. */
  readonly token_sha256: string | null
  readonly exit_code: number | null
  readonly started_at: string | null
  readonly finished_at: string | null
  readonly artifacts: Kept | null
  readonly log: Kept | null
  readonly metrics: Kept | null
}

/** An uploaded file (a code folder) in the blob store. The key is its SHA-256. */
export interface BlobRow extends Versioned {
  readonly bytes: number
  readonly holders: readonly string[]
  readonly created_at: string
}

/** The answer a repeated POST gets. The key is `user:idempotency-key`. */
export interface IdempotencyRow extends Versioned {
  readonly request_sha256: string
  /** Id of the object the first request made. */
  readonly made: string
  readonly at: string
}

export interface Rows {
  cluster: ClusterRow
  users: UserRow
  tokens: TokenRow
  joinTokens: JoinTokenRow
  nodes: NodeRow
  experiments: ExperimentRow
  tasks: TaskRow
  blobs: BlobRow
  idempotency: IdempotencyRow
}
export type TableName = keyof Rows

/** Key of the only row of the `cluster` table. */
export const theCluster = 'self'
