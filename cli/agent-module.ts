/** What the command line asks of the agent's own code; `agent/main.ts` exports it. */
export interface AgentModule {
  readonly startAgent: (options: AgentOptions) => Promise<{ stop(): Promise<void> }>
  /** Writes new addresses of members into a stopped agent's data folder. */
  readonly setPeers: (dataDir: string, entries: readonly PeerAddress[]) => Promise<void>
  /** A key for one backup, and how it comes from the passphrase. */
  readonly newPassphraseKey: (passphrase: string) => Promise<{ key: Uint8Array; kdf: BackupKdf }>
  /** Checks a backup's file; with its passphrase also what is in it. */
  readonly verifyBackup: (path: string, passphrase?: string) => Promise<BackupSummary>
  /** The data folder of a new cluster's first member, with the state of a backup. */
  readonly restoreBackup: (options: RestoreOptions) => Promise<Restored>
  /** A stopped member's data folder, to found its cluster anew; `finished` when an earlier run was cut off and is done now. */
  readonly openRecovery: (data: string) => Promise<Recovery | { readonly finished: string }>
}

export interface RestoreOptions {
  file: string
  passphrase: string
  data: string
  name?: string
  advertise?: string
  newCluster: boolean
}

export interface Restored {
  readonly cluster: { readonly id: string; readonly name: string }
  readonly node: string
  readonly name: string
  readonly taken_at: string
  readonly users: number
  readonly experiments: number
  readonly lost_nodes: readonly string[]
  readonly failed_tasks: readonly string[]
  readonly same_authority: boolean
}

export interface Recovery {
  readonly plan: RecoveryPlan
  readonly carryOut: () => Promise<Recovered>
  readonly close: () => Promise<void>
}

export interface RecoveryPlan {
  readonly data: string
  readonly cluster: { readonly id: string; readonly name: string }
  readonly node: string
  readonly name: string
  readonly role: string
  readonly index: number
  readonly term: number
  readonly uncertain: number
  readonly last_written: string
  readonly members: readonly {
    readonly node: string
    readonly name: string
    readonly address: string
    readonly role: string
    readonly here: boolean
  }[]
  readonly users: number
  readonly experiments: number
  readonly running_here: readonly string[]
  readonly running_elsewhere: readonly string[]
  readonly same_authority: boolean
}

export interface Recovered {
  readonly cluster: { readonly id: string; readonly name: string }
  readonly node: string
  readonly name: string
  readonly aside: string
  readonly lost_nodes: readonly string[]
  readonly failed_tasks: readonly string[]
}

export interface BackupKdf {
  name: 'argon2id'
  salt: string
  memory: number
  passes: number
  parallelism: number
}

export interface BackupSummary {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
  readonly cluster: { readonly id: string; readonly name: string }
  readonly index: number
  readonly taken_at: string
  readonly agent: string
  readonly contents: Readonly<Record<string, number>> | null
}

export interface AgentOptions {
  data: string
  create?: { clusterName: string }
  join?: string
  name?: string
  advertise?: string
  bind?: string
  share?: { cpu?: number; memory?: number; gpus?: string[] }
  sharedGpus?: string[]
  foreignGpuMemory?: number
  defaultImage?: string
  dockerSocket?: string
  docker: boolean
  processRuntime: boolean
  httpLoopback?: number
  replaceVoterAfterMs?: number
  logLevel: string
}

export interface PeerAddress {
  node: string
  address: string
}
