/** What the command line asks of the agent's own code; `agent/main.ts` exports it. */
export interface AgentModule {
  readonly startAgent: (options: AgentOptions) => Promise<{ stop(): Promise<void> }>
  /** Writes new addresses of members into a stopped agent's data folder. */
  readonly setPeers: (dataDir: string, entries: readonly PeerAddress[]) => Promise<void>
  /** A key for one backup, and how it comes from the passphrase. */
  readonly newPassphraseKey: (passphrase: string) => Promise<{ key: Uint8Array; kdf: BackupKdf }>
  /** Checks a backup's file; with its passphrase also what is in it. */
  readonly verifyBackup: (path: string, passphrase?: string) => Promise<BackupSummary>
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
  defaultImage?: string
  dockerSocket?: string
  docker: boolean
  processRuntime: boolean
  httpLoopback?: number
  logLevel: string
}

export interface PeerAddress {
  node: string
  address: string
}
