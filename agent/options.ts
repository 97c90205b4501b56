/** What `submarine agent start` was asked for. */
export interface AgentOptions {
  /** Folder that holds everything this agent keeps. */
  readonly data: string
  /** Form a new cluster; refused when the folder already belongs to one. */
  readonly create?: { readonly clusterName: string; readonly adminPassword?: string }
  /** Join with this token; refused when the folder already belongs to a cluster. */
  readonly join?: string
  readonly name?: string
  /** HOST:PORT the others reach it by; default: the first non-loopback address and the port of `bind`. */
  readonly advertise?: string
  /** HOST:PORT it listens on; default 0.0.0.0:7460. */
  readonly bind?: string
  /** Explicit share of the host, for agents that share one. */
  readonly share?: { readonly cpu?: number; readonly memory?: number; readonly gpus?: readonly string[] }
  /** GPUs that tasks may share by declared memory: UUIDs, indexes, or `all`. */
  readonly sharedGpus?: readonly string[]
  /** Bytes from which on a computing process of outside the cluster keeps a GPU from being handed out; default: 300 MiB. */
  readonly foreignGpuMemory?: number
  readonly defaultImage?: string
  readonly dockerSocket?: string
  readonly docker: boolean
  readonly processRuntime: boolean
  /** Also serve the console and API as plain HTTP on 127.0.0.1 at this port (the demo). */
  readonly httpLoopback?: number
  /** File with the demo experiment, served at /demo.json. */
  readonly demoFile?: string
  /** Free bytes below which no new work is taken; default: the greater of 1 GiB and 5 % of the disk, at most 10 GiB. */
  readonly diskFloor?: number
  /** A voter silent for so long is replaced by a live learner, ms; default: 10 minutes. */
  readonly replaceVoterAfterMs?: number
  readonly logLevel: string
}
