/** Member ids are positive integers, never reused: a member that lost its data must come back under a new id. */
export type NodeId = number
/** Terms number elections; each has at most one leader. */
export type Term = number
/** Places in the log, from 1 on; 0 is before the first. */
export type Index = number

/** The id that means "nobody": no leader, no vote. */
export const NONE: NodeId = 0

/** What a member is at the moment. A learner is a follower. */
export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'
/** Commands are `normal`; a `config` entry holds an encoded ConfChange. */
export type EntryKind = 'normal' | 'config'

/** One place of the log. Index and term together determine it. */
export interface Entry {
  readonly term: Term
  readonly index: Index
  readonly kind: EntryKind
  /** Empty for the entry a new leader appends and for leaving a joint configuration. */
  readonly data: Uint8Array
}

/** Term and vote are one record: storing them apart lets a crash in between give two votes in one term. */
export interface HardState {
  readonly term: Term
  readonly vote: NodeId
  readonly commit: Index
}

/** Who belongs to the cluster. All lists are sorted; `votersOutgoing` is non-empty only in a joint configuration. */
export interface ConfState {
  readonly voters: readonly NodeId[]
  readonly votersOutgoing: readonly NodeId[]
  readonly learners: readonly NodeId[]
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly NodeId[]
  readonly autoLeave: boolean
}

/** Nobody: what a member that joins later starts with. */
export const EMPTY_CONF: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
}

/** `voter` adds or promotes, `learner` adds or demotes. */
export interface ConfChangeItem {
  readonly type: 'voter' | 'learner' | 'remove'
  readonly id: NodeId
}

/** One item is a simple change; several go through joint consensus, left automatically; none leaves a joint configuration. */
export interface ConfChange {
  readonly changes: readonly ConfChangeItem[]
}

/** A snapshot without its bytes: what it stands for, and how to check them. */
export interface SnapshotMeta {
  readonly index: Index
  readonly term: Term
  readonly conf: ConfState
  readonly bytes: number
  readonly crc32c: number
}

interface Addressed {
  readonly from: NodeId
  readonly to: NodeId
  /** 0 on messages that carry no claim about a term (forwarded requests). */
  readonly term: Term
}

/**
 * Rides on votes: an entry that is committed. Configurations take effect when applied, so after a leader is lost those
 * who would elect the next one by the old configuration may need the vote of a member that by the new one neither
 * campaigns nor grants it. Knowing the commit index, they can apply the new one.
 */
interface CommitHint {
  readonly commit: Index
  readonly commitTerm: Term
}

/** Asks for a vote, or whether there would be one. */
export interface VoteMessage extends Addressed, CommitHint {
  readonly type: 'vote' | 'preVote'
  readonly lastIndex: Index
  readonly lastTerm: Term
  /** Sent at the leader's wish (thesis 3.10), so it is heard although a leader is alive. */
  readonly transfer: boolean
}
/** A vote or its refusal. */
export interface VoteReply extends Addressed, CommitHint {
  readonly type: 'voteReply' | 'preVoteReply'
  readonly granted: boolean
}
/** Entries after `prevIndex`, or none to tell a commit index. */
export interface AppendMessage extends Addressed {
  readonly type: 'append'
  readonly prevIndex: Index
  readonly prevTerm: Term
  readonly commit: Index
  readonly entries: readonly Entry[]
}
/** What became of an append or a snapshot. */
export interface AppendReply extends Addressed {
  readonly type: 'appendReply'
  /** Accepted: the last index known to match. Rejected: the prevIndex that did not. */
  readonly index: Index
  readonly rejected: boolean
  /** With a rejection: the largest (index, term) at which the logs may still agree. */
  readonly hintIndex: Index
  readonly hintTerm: Term
}
/** The leader is there. */
export interface HeartbeatMessage extends Addressed {
  readonly type: 'heartbeat'
  readonly commit: Index
  /** Position in the leader's read queue that an answer confirms; 0 for none. */
  readonly read: number
}
/** So is the follower. */
export interface HeartbeatReply extends Addressed {
  readonly type: 'heartbeatReply'
  readonly read: number
}
/** The follower needs entries that are gone: the state instead. Its bytes travel apart. */
export interface SnapshotMessage extends Addressed {
  readonly type: 'snapshot'
  readonly meta: SnapshotMeta
}
/** The leader wants the receiver to take over. */
export interface TimeoutNowMessage extends Addressed {
  readonly type: 'timeoutNow'
}
/** A follower asks what must be applied before it may answer a read. */
export interface ReadIndexMessage extends Addressed {
  readonly type: 'readIndex'
  readonly id: string
}
/** The answer, once a quorum has confirmed the leader. */
export interface ReadIndexReply extends Addressed {
  readonly type: 'readIndexReply'
  readonly id: string
  readonly index: Index
}
/**
 * Driver to driver: commands of a follower's clients, for the leader of `term` and no other. The core never sees it.
 * The leader appends at most one copy of a message: else what it says of one copy would not hold for the next.
 */
export interface ProposeMessage extends Addressed {
  readonly type: 'propose'
  /** Names the sending process: a restart counts its messages anew. */
  readonly origin: number
  /** Of this message, from 1 on; never used twice. */
  readonly number: number
  readonly commands: readonly Uint8Array[]
}
/** Driver to driver: commands of message `number` that the answering member did not append just now. */
export interface ProposeRefused extends Addressed {
  readonly type: 'proposeRefused'
  readonly number: number
  readonly commands: readonly Uint8Array[]
  /** No copy of the message brought them, or will bring them, into any log. */
  readonly certain: boolean
  readonly busy: boolean
}

/** Everything that members say to each other. */
export type Message =
  | VoteMessage
  | VoteReply
  | AppendMessage
  | AppendReply
  | HeartbeatMessage
  | HeartbeatReply
  | SnapshotMessage
  | TimeoutNowMessage
  | ReadIndexMessage
  | ReadIndexReply
  | ProposeMessage
  | ProposeRefused

/** What the pure core may ask about durable storage, synchronously. */
export interface LogView {
  /** The stored hard state, and the configuration as of `index`: everything later is found in the entries. */
  initial(): { readonly hard: HardState; readonly conf: ConfState; readonly index: Index }
  firstIndex(): Index
  lastIndex(): Index
  /** Defined for firstIndex-1 … lastIndex. */
  term(index: Index): Term | undefined
  /** Entries of [lo, hi), at least one, then as many as fit into maxBytes. */
  entries(lo: Index, hi: Index, maxBytes: number): readonly Entry[]
  /** The newest stored snapshot that can be sent; never older than firstIndex-1. */
  snapshot(): SnapshotMeta | undefined
}

/** What a core must know of itself; times in ticks. */
export interface RaftConfig {
  readonly id: NodeId
  /** A follower that hears nothing for [electionTicks, 2·electionTicks) ticks campaigns. */
  readonly electionTicks: number
  readonly heartbeatTicks: number
  readonly maxMessageBytes: number
  readonly maxInflightMessages: number
  readonly maxInflightBytes: number
  readonly maxUncommittedBytes: number
  /** Most bytes of committed entries handed out and not yet reported applied. */
  readonly maxApplyingBytes: number
  /** What the state machine already holds. */
  readonly applied: Index
}

/** With ticks of 100 ms: fit for a LAN. */
export const defaultRaftConfig: Omit<RaftConfig, 'id' | 'applied'> = {
  electionTicks: 10,
  heartbeatTicks: 1,
  maxMessageBytes: 1 << 20,
  maxInflightMessages: 64,
  maxInflightBytes: 8 << 20,
  maxUncommittedBytes: 64 << 20,
  maxApplyingBytes: 1 << 20,
}

/** Throws InvariantError for a configuration that cannot work. */
export function validateConfig(c: RaftConfig): void {
  assertInvariant(Number.isSafeInteger(c.id) && c.id > 0, 'id must be a positive integer')
  assertInvariant(c.heartbeatTicks >= 1, 'heartbeatTicks must be at least 1')
  assertInvariant(c.electionTicks > c.heartbeatTicks, 'electionTicks must be greater than heartbeatTicks')
  assertInvariant(c.maxInflightMessages >= 1, 'maxInflightMessages must be at least 1')
  assertInvariant(c.maxInflightBytes >= c.maxMessageBytes, 'maxInflightBytes must hold one message')
  assertInvariant(c.maxApplyingBytes >= 1, 'maxApplyingBytes must be at least 1')
}

/** Why something was refused, or what is known of its fate. */
export type RaftErrorCode =
  | 'no_leader'
  | 'not_leader'
  | 'timeout'
  | 'busy'
  | 'stopped'
  | 'too_large'
  | 'dropped'
  | 'not_ready'
  | 'conf_pending'
  | 'conf_invalid'
  | 'codec'

/** Everything this library refuses or fails with, except broken invariants and storage. */
export class RaftError extends Error {
  readonly code: RaftErrorCode
  constructor(code: RaftErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'RaftError'
    this.code = code
  }
}

/** A state that must not exist. The member stops; going on could lose acknowledged data. */
export class InvariantError extends Error {
  readonly code = 'invariant'
  constructor(message: string) {
    super(message)
    this.name = 'InvariantError'
  }
}

/** Always on: the cost is a comparison, the alternative is silent divergence. */
export function assertInvariant(condition: boolean, message: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof message === 'string' ? message : message())
}

/** Accounted size of an entry; the constant stands for its header. */
export function entryBytes(e: Entry): number {
  return e.data.length + 16
}

/** The prefix that fits into maxBytes, never empty. */
export function limitBytes(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  let size = 0
  for (let i = 0; i < entries.length; i++) {
    size += entryBytes(entries[i] as Entry)
    if (size > maxBytes && i > 0) return entries.slice(0, i)
  }
  return entries
}
