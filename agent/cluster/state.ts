import type { Map } from 'immutable'
import type {
  Constraint,
  ContainerPolicy,
  ExperimentSpec,
  GpuNeed,
  ImagePolicy,
  Inventory,
  KerberosSettings,
  Limits,
  PriorityClass,
  ProviderSettings,
  Rank,
  Reason,
  Resources,
  RuntimeName,
  Secret,
  Sharing,
  State as RunState,
  TeamRank,
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
  /** The one before, while nodes have certificates of it: trusted too. */
  readonly former_ca?: string
  /** By which older authorities vouch for newer ones, the newest first: shown along, so that who trusts an old one follows. */
  readonly ca_links?: readonly string[]
  /** The CA's private key, sealed by the cluster key: only voters can open it. */
  readonly sealed_ca_key: string
  /** Id of the cluster key in use; absent before the first rotation. */
  readonly key?: string
  /** Member ids are handed out in order and never used again. */
  readonly next_member: number
  /** Node id of the last leader that lasted: only a change is worth an event. */
  readonly leader?: string
}

export interface UserRow extends Versioned {
  readonly name: string
  readonly rank: Rank
  /** PHC string; empty for whom an identity provider checks. */
  readonly password_hash: string
  readonly created_at: string
  readonly display_name?: string
  readonly email?: string
  /** Name of the identity provider that checks the password; absent: the password is checked here. */
  readonly source?: string
  readonly disabled?: boolean
  /** The password is a one-time one: nothing else is allowed before it is changed. */
  readonly must_change?: boolean
  /** User and group id of their containers; no two people have the same. */
  readonly uid?: number
  readonly last_sign_in?: string
  /** By which `source` knows them, whatever they are called. */
  readonly external_id?: string
}

export interface TeamRow extends Versioned {
  readonly name: string
  readonly description: string
  readonly members: Readonly<Record<string, TeamRank>>
  /** Groups of identity providers whose people become members when they sign in. */
  readonly groups: readonly string[]
  readonly created_at: string
  /** Members who came by a group, and go with it. */
  readonly synced?: readonly string[]
}

/** A name that somebody had: what is left under it must never come to belong to somebody new. The key is `user:NAME` or `team:NAME`. */
export interface FormerNameRow extends Versioned {
  /** Of a user: files of that id may be left. */
  readonly uid?: number
  readonly at: string
}

/** A sign-in or API token; only its SHA-256 is known. The key is that digest. */
export interface TokenRow extends Versioned {
  /** What people call it by; absent on tokens of before: the first 12 digits of its digest. */
  readonly id?: string
  /** Absent: a sign-in. */
  readonly kind?: 'api'
  readonly name?: string
  /** Absent: all that the person may. */
  readonly scopes?: readonly string[]
  readonly address?: string
  /** To about an hour. */
  readonly last_used_at?: string
  readonly user: string
  readonly created_at: string
  readonly expires_at: string
  /** It reads the agents' metrics and nothing else; absent: it is the user. */
  readonly only?: 'monitoring'
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
  /** Reported here too, but another node's: never handed out. */
  readonly refused_gpus?: readonly string[]
  /** As the leader judged; absent or null while it answers. For people, never for decisions. */
  readonly unreachable_since?: string | null
  /** What is wrong with its copy of the state; absent or null when nothing is known to be. */
  readonly state_differs?: string | null
  readonly labels?: Readonly<Record<string, string>>
  /** The key of its certificates, which never changes, and the authority of the one it has: SHA-256, hex. */
  readonly certificate?: { readonly key: string; readonly ca: string }
  /** Takes nothing new; absent or null: it does. */
  readonly cordon?: Cordon | null
  /** Kernel's boot id: another one means that nothing of before still runs. */
  readonly boot_id?: string | null
}

export interface Cordon {
  readonly by: string
  readonly at: string
  readonly reason: string
  /** It is emptied too: what is not done by then is stopped. */
  readonly drain: {
    readonly deadline: string
    /** null: each task's own. */
    readonly grace_seconds: number | null
    /** It is to be switched off: it should neither lead nor vote. */
    readonly power_off?: boolean
    /** It is to be restarted, and takes new work when its new boot reports. */
    readonly reboot?: boolean
  } | null
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
  /** What others were asked to leave for it: nobody of its class or below may take that from it. */
  readonly nominated?: Nomination | null
  /** Absent: seen by its team, if it has one. */
  readonly sharing?: Sharing
  /** When it was preempted, the newest last. */
  readonly preempted?: readonly string[]
}

export interface Nomination {
  readonly until: string
  readonly places: readonly {
    readonly node: string
    readonly gpus: readonly string[]
    readonly resources: Resources
  }[]
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
  /** Which GPUs it takes, beside how many. */
  readonly gpu?: GpuNeed
  /** Its place in a task array. */
  readonly array_index?: number
  /** The boot of its node in which the attempt began. */
  readonly boot_id?: string | null
  /** Asked to leave its node; what becomes of it then. Gone with the attempt. */
  readonly evict?: Eviction | null
  /** So long its GPUs did nothing, in this attempt. */
  readonly idle_seconds?: number
  /** Failures that were tried again so far. */
  readonly retried?: number
  /** Not placed before: the pause after a failure. */
  readonly not_before?: string | null
  /** Earlier attempts, the newest last. */
  readonly past?: readonly PastAttempt[]
  /** Digest of the image of the newest attempt, as its engine names it. */
  readonly image_id?: string | null
}

export interface Eviction {
  readonly cause: 'preempted' | 'drained' | 'retry' | 'idle' | 'device_lost' | 'reserved'
  readonly reason: Reason
  /** From SIGTERM to SIGKILL. */
  readonly grace_seconds: number
  /** When its node has ended it: wait for a place again, or be over. */
  readonly then: 'queue' | 'stop' | 'fail'
  readonly at: string
}

export interface PastAttempt {
  readonly attempt: number
  readonly node: string | null
  readonly gpus: readonly string[]
  readonly reason: Reason | null
  readonly exit_code: number | null
  readonly started_at: string | null
  readonly finished_at: string
  readonly log: Kept | null
  readonly artifacts?: Kept | null
  readonly metrics?: Kept | null
}

export interface QueueRow extends Versioned {
  readonly name: string
  readonly priority: PriorityClass
  readonly max_priority: PriorityClass
  readonly max_runtime_seconds: number | null
  readonly default_runtime_seconds: number | null
  readonly constraints: readonly Constraint[]
  readonly open: boolean
}

/** The key is its subject: `cluster`, `user:*`, `team:*`, `user:NAME`, `team:NAME`. */
export interface QuotaRow extends Versioned {
  readonly limits: Limits
  readonly guaranteed_gpu: number
  readonly weight: number
}

export interface ReservationRow extends Versioned {
  readonly id: string
  readonly name: string
  readonly holders: readonly string[]
  readonly nodes: readonly string[]
  readonly gpus: number | null
  readonly starts_at: string
  readonly ends_at: string
  readonly created_by: string
}

/** Billed GPU-seconds of finished attempts, halved every seven days. The key is `user:NAME` or `team:NAME`. */
export interface ShareRow extends Versioned {
  readonly gpu_seconds: number
  /** Up to when they are decayed. */
  readonly at: string
}

/** What was used on one day (UTC) by one person's workloads of one name. The key is `DAY/OWNER/TEAM/NAME`. */
export interface LedgerRow extends Versioned {
  readonly day: string
  readonly owner: string
  readonly team: string | null
  readonly name: string
  readonly attempts: number
  readonly cpu_seconds: number
  readonly gpu_seconds: number
  readonly memory_gib_seconds: number
  /** Of attempts that failed, were preempted or lost. */
  readonly wasted_gpu_seconds: number
  readonly idle_gpu_seconds: number
  readonly money: number
}

/** What things cost an hour. The only row's key is `self`. */
export interface PricesRow extends Versioned {
  readonly currency: string
  readonly gpu: number
  readonly gpu_models: Readonly<Record<string, number>>
  readonly cpu: number
  readonly memory_gib: number
}

/** An uploaded file (a code folder) in the blob store. The key is its SHA-256. */
export interface BlobRow extends Versioned {
  readonly bytes: number
  readonly holders: readonly string[]
  readonly created_at: string
  /** Who uploaded it, and may use it by its digest. Absent on those of before: admins may. */
  readonly uploaders?: readonly string[]
}

/** Content named by its digest, as manifests write it. */
export interface BlobReference {
  /** `sha256:` and hex. */
  readonly digest: string
  readonly media_type: string
  readonly bytes: number
}

/** The image for one kind of machine. */
export interface ImageManifest extends BlobReference {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
  /** Its digest is what engines call the image's id. */
  readonly config: BlobReference
  readonly layers: readonly BlobReference[]
}

/** An imported image, whose blobs the store keeps. The key is its digest. */
export interface ImageRow extends Versioned {
  /** Of its manifest, or of the index over the manifests of several kinds of machine. */
  readonly digest: string
  readonly media_type: string
  readonly manifests: readonly ImageManifest[]
  /** Normal spelling, each of one image only. None: another image has taken its last name. */
  readonly names: readonly string[]
  /** Nodes that keep every blob of it. */
  readonly holders: readonly string[]
  readonly created_at: string | null
  readonly imported_at: string
  readonly imported_by: string
  readonly last_used_at: string | null
}

/** An image in a node's engine. */
export interface EngineImage {
  readonly id: string
  readonly names: readonly string[]
  readonly bytes: number
  readonly os: string
  readonly architecture: string
  /** Where the agent got it from; null: somebody else brought it, so it is not ours to remove. */
  readonly brought: 'cluster' | 'registry' | null
  /** When the agent first saw it. */
  readonly since: string
}

/** All that a node's engine has, as far as it could last be asked. The key is the node's id. */
export interface EngineImagesRow extends Versioned {
  readonly images: readonly EngineImage[]
}

/** What a node was asked to do with an image. The key is `NODE/IMAGE`; gone when it is done. */
export interface ImageJobRow extends Versioned {
  readonly node: string
  readonly kind: 'pull' | 'remove'
  readonly image: string
  readonly asked_at: string
  readonly asked_by: string
  /** Why it failed; it stays to be seen until it is asked for again. */
  readonly reason: Reason | null
}

/** How long unused images are kept. The only row's key is `self`. */
export interface ImagePolicyRow extends Versioned, ImagePolicy {}

/** What containers may have of their host. The only row's key is `self`. */
export interface PolicyRow extends Versioned, ContainerPolicy {}

/** Kerberos realms of which tasks may have tickets. The only row's key is `self`. */
export interface KerberosRow extends Versioned, KerberosSettings {}

/** What tasks are given and nobody is told. The key is its id, `OWNER/NAME`. */
export interface SecretRow extends Versioned {
  readonly id: string
  readonly owner: string
  readonly name: string
  readonly team: string | null
  readonly kind: Secret['kind']
  /** Of a keytab: who it is for. Absent: not said, it is given as it is. */
  readonly principal?: string
  readonly description: string
  /** How often it was set; what is sealed is bound to it. */
  readonly version: number
  readonly bytes: number
  /** The value in base64, in an envelope. */
  readonly sealed: string
  readonly sharing: Sharing
  readonly created_at: string
  readonly updated_at: string
  readonly updated_by: string
}

/** A registry that is not pulled from as anybody may. The key is its host. */
export interface RegistryRow extends Versioned {
  readonly host: string
  readonly user: string | null
  /** User and password, sealed by the cluster key: only voters can open it. */
  readonly sealed: string | null
  readonly ca: string | null
  readonly insecure: boolean
  readonly added_at: string
  readonly added_by: string
}

/** A directory, or an OpenID Connect provider, that people sign in by. The key is its name. */
export interface IdentityProviderRow extends Versioned {
  readonly name: string
  readonly settings: ProviderSettings
  /** Its secret, sealed by the cluster key. */
  readonly sealed: string | null
  readonly added_at: string
  readonly added_by: string
}

/** The answer a repeated POST gets. The key is `user:idempotency-key`. */
export interface IdempotencyRow extends Versioned {
  readonly request_sha256: string
  /** Id of the object the first request made. */
  readonly made: string
  readonly at: string
}

/** The newest record of the audit log. The only row's key is `self`. */
export interface AuditHeadRow extends Versioned {
  readonly seq: number
  readonly sha256: string
}

export interface Rows {
  cluster: ClusterRow
  users: UserRow
  teams: TeamRow
  formerNames: FormerNameRow
  tokens: TokenRow
  joinTokens: JoinTokenRow
  nodes: NodeRow
  experiments: ExperimentRow
  tasks: TaskRow
  blobs: BlobRow
  idempotency: IdempotencyRow
  queues: QueueRow
  quotas: QuotaRow
  reservations: ReservationRow
  shares: ShareRow
  ledger: LedgerRow
  prices: PricesRow
  images: ImageRow
  engineImages: EngineImagesRow
  imageJobs: ImageJobRow
  imagePolicy: ImagePolicyRow
  registries: RegistryRow
  auditHead: AuditHeadRow
  policy: PolicyRow
  identityProviders: IdentityProviderRow
  secrets: SecretRow
  kerberos: KerberosRow
}
export type TableName = keyof Rows

/** Key of the only row of the `cluster` table. */
export const theCluster = 'self'
