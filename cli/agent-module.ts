/** What the command line asks of the agent's own code; `agent/main.ts` exports it. */
export interface AgentModule {
  readonly startAgent: (options: AgentOptions) => Promise<{ stop(): Promise<void> }>
  /** Writes new addresses of members into a stopped agent's data folder. */
  readonly setPeers: (dataDir: string, entries: readonly PeerAddress[]) => Promise<void>
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
