import type {
  Actor,
  Event,
  ExperimentPatch,
  ExperimentSpec,
  Inventory,
  Reason,
  Resources,
  RuntimeName,
  State,
} from '../../contract/index.ts'
import type { Origin } from './audit/origin.ts'
import type { AttemptCommand } from './commands/attempt.ts'
import type { AuthorityCommand } from './commands/authority.ts'
import type { AuditCommand } from './commands/audit.ts'
import type { IdentityCommand } from './commands/identity.ts'
import type { KerberosCommand } from './commands/kerberos.ts'
import type { MonitoringCommand } from './commands/monitoring.ts'
import type { NodeCommand } from './commands/node.ts'
import type { ImageCommand } from './commands/image.ts'
import type { OrderCommand } from './commands/order.ts'
import type { PeopleCommand } from './commands/people.ts'
import type { PolicyCommand } from './commands/policy.ts'
import type { SecretCommand } from './commands/secrets.ts'
import type { Kept, TableName } from './state.ts'

/**
 * Every change to the replicated state. Time, ids and digests travel inside the command, so every member applies it
 * to the same end. A member that meets a version or type it does not know stops instead of skipping it.
 */
export type Command =
  | {
      type: 'cluster.create'
      id: string
      name: string
      ca: string
      sealed_ca_key: string
      /** `must_change`: the password is a one-time one. */
      admin: { name: string; password_hash: string; must_change?: boolean }
      node: { name: string; address: string }
    }
  | { type: 'joinToken.create'; sha256: string; expires_at: string }
  | { type: 'node.join'; token_sha256: string; name: string; address: string }
  | {
      type: 'node.report'
      node: string
      address: string
      inventory: Inventory
      /** Kernel's boot id. */
      boot_id?: string
      allocatable: Resources
      gpus: readonly string[]
    }
  /** Its copy of the state was compared with the others': what is wrong with it, or that nothing is any more. */
  | { type: 'node.replica'; node: string; differs: boolean; message: string }
  /** `force`: although it runs tasks, or holds the only copy of something. */
  | { type: 'node.remove'; node: string; force: boolean }
  /** The leader tells that a node fell silent, so many ms ago, or is heard again. */
  | { type: 'node.liveness'; node: string; unreachable: boolean; silent_ms: number }
  /** A new leader tells that it is one. */
  | { type: 'cluster.lead'; node: string }
  | {
      type: 'experiment.create'
      id: string
      spec: ExperimentSpec
      owner: string
      idempotency?: { key: string; request_sha256: string }
    }
  /** `if_version` is the version that the experiment is shown with. */
  | { type: 'experiment.edit'; id: string; patch: ExperimentPatch; if_version?: number }
  | { type: 'experiment.stop'; id: string }
  | { type: 'experiment.delete'; id: string; if_version?: number }
  /** The planner looked at it and could not place it: why. */
  | { type: 'workload.wait'; id: string; reason: Reason }
  | { type: 'workload.place'; id: string; placements: readonly Placement[] }
  | TaskReport
  | AttemptCommand
  | AuditCommand
  | AuthorityCommand
  | MonitoringCommand
  | NodeCommand
  | ImageCommand
  | OrderCommand
  | PeopleCommand
  | PolicyCommand
  | KerberosCommand
  | IdentityCommand
  | SecretCommand
  /** `by`: who uploaded it. */
  | { type: 'blob.create'; sha256: string; bytes: number; holders: readonly string[]; by?: string }
  /** A further node now holds a finished attempt's log, metrics or artifacts. */
  | {
      type: 'task.copied'
      task: string
      attempt: number
      kind: 'log' | 'metrics' | 'artifacts'
      holders: readonly string[]
    }

export interface Placement {
  readonly task: string
  /** The attempt this placement begins: the task's last attempt + 1, or the command is refused. */
  readonly attempt: number
  readonly node: string
  readonly runtime: RuntimeName
  readonly gpus: readonly string[]
}

/** What a node observed of an attempt. Repeats and late reports change nothing. */
export interface TaskReport {
  readonly type: 'task.report'
  readonly task: string
  readonly attempt: number
  readonly node: string
  readonly state: Extract<State, 'Starting' | 'Running' | 'Succeeded' | 'Failed' | 'Stopped'>
  readonly reason?: Reason
  readonly token_sha256?: string
  /** Of its host, told with the announcement. */
  readonly boot_id?: string
  readonly exit_code?: number | null
  /** Digest of the image it runs, as the engine names it. */
  readonly image_id?: string
  readonly started_at?: string
  readonly finished_at?: string
  readonly artifacts?: Kept | null
  readonly log?: Kept | null
  readonly metrics?: Kept | null
}

/** What stands in the log: the command, who asked, and when by the proposer's clock (for people, never for decisions). */
export interface Entry {
  readonly v: 1
  readonly at: string
  readonly actor: Actor
  readonly command: Command
  /** Of what the audit log keeps. */
  readonly origin?: Origin
}

/** What a command answers where it was proposed. */
export interface Results {
  'node.join': { member: number; node: string }
  /** `made` is an earlier experiment's id when the idempotency key was seen before. */
  'experiment.create': { id: string; made: boolean }
  'user.sync': { name: string }
}
export type ResultOf<C extends Command> = C['type'] extends keyof Results ? Results[C['type']] : null

/** One applied entry, as watchers see it. */
export interface Applied {
  readonly index: number
  /** Keys of changed rows by table; a key missing from the new state was deleted. */
  readonly changed: ReadonlyMap<TableName, ReadonlySet<string>>
  readonly events: readonly Event[]
  /** The whole state was replaced by a snapshot: watchers must start over. */
  readonly restored?: true
}
