import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Actor, AuditRecord, Event, Liveness, Usage } from '../../contract/index.ts'
import type { AuditPage, AuditRead } from './audit/read.ts'
import type { Applied, Command, ResultOf } from './commands.ts'
import type { State } from './state.ts'

/** The cluster as services, the planner and the node see it: one log, one state, the other agents. */
export interface Cluster {
  readonly self: { readonly node: string; readonly member: number }
  /** This agent's replica: a consistent, immutable value. */
  state(): State
  /**
   * Put a command into the log through the leader, wherever it is, and wait until it is applied here.
   * Throws ProblemError: what `apply` refused, or `no_leader`, `busy`, `outcome_unknown`.
   */
  propose<C extends Command>(command: C, actor: Actor, options?: { timeoutMs?: number }): Promise<ResultOf<C>>
  /** Returns when `state()` is as new as every write acknowledged before the call. Throws ProblemError `no_leader`. */
  barrier(): Promise<void>
  /** Milliseconds since `state()` was known to be as new as a leader's; null when never since this agent started. */
  staleMs(): number | null
  /** Called after each applied entry, in order, synchronously. Returns the way to stop. */
  onApplied(listener: (applied: Applied) => void): () => void
  status(): ClusterStatus
  onStatus(listener: (status: ClusterStatus) => void): () => void
  events(query: EventQuery): Promise<{ items: Event[]; next: string | null }>
  /** A page of the audit log, newest first. */
  audit(read: AuditRead): Promise<AuditPage>
  /** The records after one, oldest first, up to the newest there is now. */
  auditAfter(seq: number): AsyncIterable<AuditRecord>
  readonly peers: Peers
}

export interface ClusterStatus {
  /** Node id of the leader, null when there is none as far as this agent knows. */
  readonly leader: string | null
  readonly isLeader: boolean
  readonly term: number
  readonly commit: number
  readonly applied: number
  readonly voters: readonly number[]
  readonly learners: readonly number[]
  /** Voters of the configuration that is being left, empty outside a change of several members. */
  readonly leaving: readonly number[]
}

export interface EventQuery {
  /** Only events of this object; of an experiment: of its tasks too. */
  readonly subject?: { readonly kind: Event['subject']['kind']; readonly id: string }
  /** Event id to go on after. */
  readonly after?: string
  readonly limit: number
  readonly order: 'oldest' | 'newest'
}

/** The other agents, over mutual TLS: small HTTP requests and streams between agents, never for people. */
export interface Peers {
  /**
   * Throws ProblemError `node_unreachable` when the agent cannot be reached, and the problem it answered otherwise.
   * The body must be read or destroyed.
   */
  request(node: string, request: PeerRequest): Promise<PeerResponse>
  /** Serve a path prefix (`/blobs/`) for the other agents. `from` is proven by the caller's certificate. */
  serve(prefix: string, handler: PeerHandler): void
  /** How the leader judges each node, at most a second old: the heartbeat's answer. */
  liveness(): ReadonlyMap<string, NodeLiveness>
  onLiveness(listener: () => void): () => void
}

export interface PeerRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD'
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: Readable | Buffer | string
  readonly signal?: AbortSignal
  /** Time to the response's head, ms; default 5,000. */
  readonly timeoutMs?: number
}

export interface PeerResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Readable
}

/** Throwing a ProblemError answers it; anything else answers `internal`. */
export type PeerHandler = (from: string, request: IncomingMessage, response: ServerResponse) => Promise<void>

export interface NodeLiveness {
  readonly liveness: Liveness
  readonly silent_ms: number | null
  readonly usage: Usage | null
}
