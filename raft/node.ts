import { Raft, type RoleHandlers, type TraceEvent } from './core.ts'
import * as election from './election.ts'
import { followerStep } from './follower.ts'
import * as leader from './leader.ts'
import type { Proposed } from './leader.ts'
import type { Progress, ProgressState } from './progress.ts'
import { requestRead } from './read-index.ts'
import { leaderFlush, reportSnapshot, reportUnreachable } from './replication.ts'
import {
  NONE,
  assertInvariant,
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  type Index,
  type LogView,
  type Message,
  type NodeId,
  type RaftConfig,
  type Role,
  type SnapshotMeta,
  type Term,
} from './types.ts'

/** Work for the caller, in the order in which the fields stand here. README.md says what it owes. */
export interface Ready {
  readonly soft?: { readonly leader: NodeId; readonly role: Role }
  /** May leave now. */
  readonly messages: readonly Message[]
  /** Store before anything of `entries`; then replace the state machine's state by it. */
  readonly snapshot?: SnapshotMeta
  readonly entries: readonly Entry[]
  readonly hard?: HardState
  /** Whether it all must be on disk, or the hard state may be written lazily (only the commit index changed). */
  readonly mustSync: boolean
  /** May leave only after entries, hard state and snapshot are durable. */
  readonly afterSync: readonly Message[]
  /** To apply, in order; then call `applied`. */
  readonly committed: readonly Entry[]
  /** Reads that may be served as soon as `index` is applied. */
  readonly reads: readonly { readonly id: string; readonly index: Index }[]
  /** Something has to be reported back by `persisted`. */
  readonly persist: boolean
}

/** How far another member is, as its leader knows it. */
export interface PeerStatus {
  readonly match: Index
  readonly next: Index
  readonly state: ProgressState
  /** Heard from of late: not only since the last quorum check, after which everybody is silent for a moment. */
  readonly recentActive: boolean
  readonly isLearner: boolean
  /** Nothing is sent to it at the moment: a probe or a snapshot is out, or the window is full. */
  readonly paused: boolean
  /** Appends under way, in `replicate`. */
  readonly inflight: number
  /** In `snapshot`: which one is under way. 0 otherwise. */
  readonly pendingSnapshot: Index
}

/** What a member knows of itself and, leading, of the others. */
export interface Status {
  readonly id: NodeId
  readonly role: Role
  /** 0 when unknown. */
  readonly leader: NodeId
  readonly term: Term
  readonly commit: Index
  readonly applied: Index
  readonly firstIndex: Index
  readonly lastIndex: Index
  readonly conf: ConfState
  /** On the leader: every other member. Empty elsewhere. */
  readonly progress: ReadonlyMap<NodeId, PeerStatus>
}

const roles: RoleHandlers = { ...leader, ...election, leaderFlush, followerStep }

/**
 * One member of a cluster: pure, synchronous, deterministic. The caller delivers messages and ticks, takes a Ready,
 * does what it says, and reports back. At most one Ready with something to persist is out at a time; while it is,
 * `ready(false)` hands out only what needs no disk, so heartbeats never wait for one.
 */
export class RaftNode {
  readonly #raft: Raft
  #soft: { leader: NodeId; role: Role }
  #hard: HardState
  #persisting: { readonly lastIndex: Index; readonly lastTerm: Term } | undefined

  constructor(config: RaftConfig, log: LogView, rng: () => number, trace?: (e: TraceEvent) => void) {
    this.#raft = new Raft(config, log, rng, roles, trace)
    this.#soft = { leader: NONE, role: 'follower' }
    this.#hard = log.initial().hard
  }

  get id(): NodeId {
    return this.#raft.id
  }
  get role(): Role {
    return this.#raft.role
  }
  get leader(): NodeId {
    return this.#raft.leader
  }
  get term(): Term {
    return this.#raft.term
  }
  /** Whom this member voted for in its term; 0 for nobody. */
  get vote(): NodeId {
    return this.#raft.vote
  }
  get conf(): ConfState {
    return this.#raft.conf
  }
  get appliedIndex(): Index {
    return this.#raft.log.applied
  }
  get commitIndex(): Index {
    return this.#raft.log.committed
  }
  /** A snapshot was accepted and is not installed yet. */
  get hasPendingSnapshot(): boolean {
    return this.#raft.log.hasPendingSnapshot
  }
  /** Leadership is being handed over; proposals are dropped meanwhile. */
  get transferring(): NodeId {
    return this.#raft.leading.transferee
  }

  /** Ticks since the last sign of a leader, since the campaign began, or, on a leader, since the last quorum check. */
  get electionElapsed(): number {
    return this.#raft.electionElapsed
  }
  /** For tests: ticks until the next campaign. Drawn anew, in [electionTicks, 2·electionTicks), with each change of role. */
  get electionTimeout(): number {
    return this.#raft.electionTimeout
  }
  set electionTimeout(ticks: number) {
    this.#raft.electionTimeout = ticks
  }

  /** Entries of [from, to) that are in the log, stored or not. By default all that are not compacted. */
  entries(from = this.#raft.log.firstIndex, to = this.#raft.log.lastIndex + 1): readonly Entry[] {
    return from < to ? this.#raft.log.slice(from, to, Infinity) : []
  }

  tick(): void {
    this.#raft.tick()
  }

  /** Answers of strangers are ignored: a removed member's late answer must not count. */
  step(m: Message): void {
    if (m.to !== this.id || m.from === this.id) return
    this.#raft.step(m)
  }

  campaign(): void {
    election.campaign(this.#raft, 'preVote')
  }

  /** Appends on the leader. 'dropped' elsewhere and during a transfer; 'busy' when too much is uncommitted. */
  propose(data: Uint8Array): Proposed | 'dropped' | 'busy' {
    return leader.propose(this.#raft, data)
  }

  /** Throws RaftError not_leader, conf_pending or conf_invalid. */
  proposeConf(change: ConfChange): Proposed {
    return leader.proposeConf(this.#raft, change)
  }

  /** To be called for every committed config entry, in order, also for those found in a restart's replay. */
  applyConf(change: ConfChange): ConfState {
    return this.#raft.applyConf(change)
  }

  /** Asks for a read index; the answer comes in a Ready, or never. Ids must never be used twice. False without a leader. */
  readIndex(id: string): boolean {
    const r = this.#raft
    if (r.role === 'leader') requestRead(r, id, r.id)
    else if (r.leader === NONE) return false
    else r.send({ type: 'readIndex', to: r.leader, term: 0, id })
    return true
  }

  transferTo(id: NodeId): void {
    leader.transferLeadership(this.#raft, id)
  }

  /** The caller knows that the leader is gone: votes are granted without waiting for the timeout. */
  forgetLeader(): void {
    if (this.#raft.role === 'follower') this.#raft.leader = NONE
  }

  reportUnreachable(id: NodeId): void {
    reportUnreachable(this.#raft, id)
  }

  /** The fate of a snapshot message. Without it the member would wait for ever. */
  reportSnapshot(id: NodeId, ok: boolean): void {
    reportSnapshot(this.#raft, id, ok)
  }

  /** True once after a member was found to need a snapshot that storage does not have. */
  takeSnapshotWanted(): boolean {
    const wanted = this.#raft.snapshotWanted
    this.#raft.snapshotWanted = false
    return wanted
  }

  hasReady(persist = true): boolean {
    const r = this.#raft
    r.flush()
    if (r.messages.length > 0 || r.reads.length > 0 || r.log.hasNextCommitted || this.#softChanged())
      return true
    return persist && (r.afterSync.length > 0 || r.log.hasNextUnstable || this.#hardChanged())
  }

  ready(persist = true): Ready {
    const r = this.#raft
    r.flush()
    const soft = this.#softChanged() ? { leader: r.leader, role: r.role } : undefined
    const committed = r.log.nextCommitted()
    const ready = {
      ...(soft && { soft }),
      messages: r.messages,
      reads: r.reads,
      committed,
      ...(persist ? this.#persistPart() : { entries: [], mustSync: false, afterSync: [], persist: false }),
    }
    if (soft) this.#soft = soft
    r.messages = []
    r.reads = []
    r.log.acceptApplying(committed)
    return ready
  }

  #persistPart(): Pick<Ready, 'snapshot' | 'entries' | 'hard' | 'mustSync' | 'afterSync' | 'persist'> {
    assertInvariant(!this.#persisting, 'two Readies to persist at a time')
    const r = this.#raft
    const { entries, snapshot } = r.log.nextUnstable()
    const hard = this.#hardChanged() ? { term: r.term, vote: r.vote, commit: r.log.committed } : undefined
    const mustSync =
      entries.length > 0 ||
      snapshot !== undefined ||
      (hard !== undefined && (hard.term !== this.#hard.term || hard.vote !== this.#hard.vote))
    const afterSync = r.afterSync
    const persist = entries.length > 0 || snapshot !== undefined || hard !== undefined || afterSync.length > 0
    if (persist) this.#persisting = { lastIndex: r.log.lastIndex, lastTerm: r.log.lastTerm }
    if (hard) this.#hard = hard
    r.afterSync = []
    r.log.acceptUnstable()
    return { ...(snapshot && { snapshot }), entries, ...(hard && { hard }), mustSync, afterSync, persist }
  }

  /** Entries, hard state and snapshot of this Ready are durable (and a snapshot's state is in the state machine). */
  persisted(ready: Ready): void {
    const r = this.#raft
    const was = this.#persisting
    if (!was) return
    this.#persisting = undefined
    // Own votes and acknowledgements count from here on. Before stableTo: they look at the entries' terms.
    for (const m of ready.afterSync) if (m.to === this.id) r.step(m)
    if (ready.snapshot) {
      r.log.stableSnapshot(ready.snapshot.index)
      r.appliedTo(Math.max(ready.snapshot.index, r.log.applied))
    }
    r.log.stableTo(was.lastIndex, was.lastTerm)
  }

  /** Everything handed out up to here is applied. */
  applied(upTo: Index): void {
    this.#raft.appliedTo(upTo)
  }

  status(): Status {
    const r = this.#raft
    const progress = new Map<NodeId, PeerStatus>()
    if (r.role === 'leader') {
      for (const [id, pr] of r.progress) if (id !== r.id) progress.set(id, peerStatus(pr))
    }
    const { committed, applied, firstIndex, lastIndex } = r.log
    return {
      id: r.id,
      role: r.role,
      leader: r.leader,
      term: r.term,
      commit: committed,
      applied,
      firstIndex,
      lastIndex,
      conf: r.conf,
      progress,
    }
  }

  #softChanged(): boolean {
    return this.#soft.leader !== this.#raft.leader || this.#soft.role !== this.#raft.role
  }

  #hardChanged(): boolean {
    const { term, vote, log } = this.#raft
    const h = this.#hard
    return h.term !== term || h.vote !== vote || h.commit !== log.committed
  }
}

function peerStatus(pr: Progress): PeerStatus {
  const { match, next, state, isLearner, blocked, inflights, pendingSnapshot } = pr
  return {
    match,
    next,
    state,
    recentActive: pr.recentActive || pr.activeBefore,
    isLearner,
    paused: blocked,
    inflight: inflights.count,
    pendingSnapshot,
  }
}
