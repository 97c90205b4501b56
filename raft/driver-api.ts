import type { TraceEvent } from './core.ts'
import type { Env } from './env.ts'
import type { SessionRow } from './sessions.ts'
import type { LogStore, SnapshotBytes } from './store.ts'
import type { Index, Message, NodeId, SnapshotMessage, Term } from './types.ts'

/** A committed command and where it stands in the log. */
export interface Applied {
  readonly index: Index
  readonly term: Term
  readonly data: Uint8Array
}

/** What the log is for. `apply` decides everything; the rest keeps its effects durable. */
export interface StateMachine {
  /** Durable applied index at open; the driver replays committed entries after it. */
  readonly applied: Index
  /** Session rows written by earlier flushes; read once, at open. */
  sessions(): Promise<readonly SessionRow[]>
  /** Synchronous, deterministic, never throws for a bad command: throwing stops the member. */
  apply(entry: Applied): Uint8Array
  /**
   * Writes the effects of every apply() since the last flush, the applied index and the session rows in one atomic
   * batch. With `sync` it must survive a power cut when resolved, and so must everything before: the log it could be
   * replayed from is about to go.
   */
  flush(applied: Index, rows: readonly SessionRow[], sync: boolean): Promise<void>
  /** A consistent image of the state at `index`, the last applied one; read later, while apply goes on. */
  snapshot(): { readonly index: Index; readonly data: AsyncIterable<Uint8Array> }
  /** Replaces everything, the rows too; durable when resolved, with applied = index. May be repeated after a crash. */
  restore(index: Index, rows: readonly SessionRow[], data: AsyncIterable<Uint8Array>): Promise<void>
}

/** Carries messages to members; may lose, delay, repeat and reorder them, but not change them. */
export interface Transport {
  /** Best effort; never throws, never blocks. */
  send(messages: readonly Message[]): void
  onMessage(f: (m: Message) => void): void
  /**
   * On a stream of its own, so that heartbeats never queue behind it. Resolves when the receiver has stored it,
   * rejects when it did not; must do one of them (a receiver that stalls is to be given up), or it gets nothing else.
   */
  sendSnapshot(m: SnapshotMessage, data: SnapshotBytes): Promise<void>
  /** The receiver names the offset from which it needs the data, and is given it from there. */
  onSnapshot(f: (m: SnapshotMessage, data: SnapshotBytes) => Promise<void>): void
}

/** Where a driver tells what happens to it. */
export interface Logger {
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
}

/** Times and sizes of a driver. */
export interface DriverOptions {
  /** The clock's grain. Finer than the heartbeat, so that election timeouts differ. */
  readonly tickMs: number
  readonly heartbeatMs: number
  /** A follower campaigns after a silence of one to two times this. */
  readonly electionMs: number
  /**
   * A snapshot is taken after so many entries or bytes of log. Of a state larger than 1 MiB only when the log is about
   * twice as long as its last snapshot, or four times `snapshotBytes`.
   */
  readonly snapshotEntries: number
  readonly snapshotBytes: number
  /** Of each snapshot that is sent; Infinity for no limit. */
  readonly snapshotBytesPerSecond: number
  /** Entries kept before it, so that a member that was away shortly needs no snapshot. */
  readonly trailingEntries: number
  readonly maxMessageBytes: number
  readonly maxUncommittedBytes: number
  readonly maxCommandBytes: number
  /** How far behind a learner may be to be promoted. */
  readonly promoteLag: number
  readonly timeoutMs: number
}

/** For a few members on one LAN. */
export const defaultDriverOptions: DriverOptions = {
  tickMs: 50,
  heartbeatMs: 100,
  electionMs: 600,
  snapshotEntries: 10_000,
  snapshotBytes: 16 << 20,
  snapshotBytesPerSecond: Infinity,
  trailingEntries: 5_000,
  maxMessageBytes: 1 << 20,
  maxUncommittedBytes: 64 << 20,
  maxCommandBytes: 4 << 20,
  promoteLag: 1_000,
  timeoutMs: 10_000,
}

/** What a driver is made of. */
export interface OpenOptions {
  readonly id: NodeId
  readonly store: LogStore
  readonly transport: Transport
  readonly stateMachine: StateMachine
  readonly options?: Partial<DriverOptions>
  readonly env?: Env
  /** Called once. The member has stopped and must be opened anew, after whatever failed is understood. */
  readonly onFatal: (e: Error) => void
  readonly log?: Logger
  /** Sees every change of role, commit index and members, and every message that the core gets. For checks in tests. */
  readonly trace?: (e: TraceEvent) => void
}
