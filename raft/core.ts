import { applyConfChange, isVoter, members } from './confchange.ts'
import { decodeConfChange } from './codec.ts'
import type { Campaign } from './election.ts'
import { noLeadership, type LeaderState } from './leadership.ts'
import { RaftLog } from './log.ts'
import { Inflights, Progress } from './progress.ts'
import {
  NONE,
  RaftError,
  assertInvariant,
  validateConfig,
  type ConfChange,
  type ConfState,
  type Entry,
  type Index,
  type LogView,
  type Message,
  type NodeId,
  type RaftConfig,
  type Role,
  type Term,
  type VoteMessage,
} from './types.ts'

/** What the core tells its `trace` function. */
export type TraceEvent =
  | { readonly event: 'role'; readonly id: NodeId; readonly role: Role; readonly term: Term }
  | { readonly event: 'commit'; readonly id: NodeId; readonly term: Term; readonly commit: Index }
  | { readonly event: 'conf'; readonly id: NodeId; readonly term: Term; readonly conf: ConfState }
  | { readonly event: 'receive'; readonly id: NodeId; readonly term: Term; readonly message: Message }

/** What the roles do, and how a vote is asked for and given. The core knows them by this interface only. */
export interface RoleHandlers {
  leaderElected(r: Raft): void
  leaderFlush(r: Raft): void
  leaderTick(r: Raft): void
  leaderStep(r: Raft, m: Message): void
  leaderConfChanged(r: Raft): void
  leaderApplied(r: Raft): void
  followerStep(r: Raft, m: Message): void
  candidateStep(r: Raft, m: Message): void
  campaign(r: Raft, kind: Campaign): void
  voteStep(r: Raft, m: VoteMessage): void
  refuseVote(r: Raft, m: VoteMessage): void
  refusesToHear(r: Raft, m: VoteMessage): boolean
  learnCommit(r: Raft, index: Index, term: Term): void
}

export type Unaddressed<M> = M extends Message ? Omit<M, 'from' | 'term'> & { term?: Term } : never

/** The state of one member and the rules that hold in every role (thesis 3). Deterministic: time is `tick`, chance is `rng`. */
export class Raft {
  readonly id: NodeId
  readonly config: RaftConfig
  readonly log: RaftLog
  readonly view: LogView
  readonly roles: RoleHandlers
  readonly rng: () => number
  readonly trace: ((e: TraceEvent) => void) | undefined

  term: Term = 0
  vote: NodeId = NONE
  leader: NodeId = NONE
  role: Role = 'follower'
  conf: ConfState
  /** Everybody in `conf`, in id order. Only a leader keeps it up to date. */
  progress = new Map<NodeId, Progress>()
  votes = new Map<NodeId, boolean>()
  leading: LeaderState

  /** Ticks since the last sign of a leader (follower), since the campaign began (candidate), since the last quorum check (leader). */
  electionElapsed = 0
  heartbeatElapsed = 0
  electionTimeout = 0

  /** May leave at once. */
  messages: Message[] = []
  /** Must not leave before everything accepted so far is durable. May be addressed to this member. */
  afterSync: Message[] = []
  reads: { id: string; index: Index }[] = []
  /** A member needs a snapshot that storage does not have yet. */
  snapshotWanted = false

  constructor(
    config: RaftConfig,
    view: LogView,
    rng: () => number,
    roles: RoleHandlers,
    trace?: (e: TraceEvent) => void,
  ) {
    validateConfig(config)
    this.id = config.id
    this.config = config
    this.view = view
    this.roles = roles
    this.rng = rng
    this.trace = trace
    this.log = new RaftLog(view, config.maxApplyingBytes)
    this.leading = noLeadership()
    const initial = view.initial()
    this.conf = initial.conf
    this.#loadState(initial.hard.term, initial.hard.vote, Math.max(initial.hard.commit, config.applied))
    this.#loadConf(initial.index)
    this.becomeFollower(this.term, NONE)
  }

  #loadState(term: Term, vote: NodeId, commit: Index): void {
    this.term = term
    this.vote = vote
    this.log.commitTo(commit)
    const applied = Math.max(this.config.applied, this.log.applied)
    assertInvariant(
      applied <= this.log.lastIndex,
      () => `applied ${applied} is beyond the log's end ${this.log.lastIndex}`,
    )
    this.log.applied = this.log.applying = applied
  }

  /** Configurations take effect when applied, so the current one is the stored one plus what was applied since. */
  #loadConf(since: Index): void {
    const { applied } = this.log
    assertInvariant(
      since <= applied,
      () => `the configuration of ${since} is newer than the applied index ${applied}`,
    )
    for (let lo = since + 1; lo <= applied;) {
      const page = this.log.slice(lo, applied + 1, this.config.maxMessageBytes)
      for (const e of page) if (e.kind === 'config') this.conf = nextConf(this.conf, decodeConfChange(e.data))
      lo += page.length
    }
    this.#trackMembers()
  }

  /** Votes, promises about the log, and vote requests wait for the disk; everything else may leave at once. */
  send(m: Unaddressed<Message>): void {
    const full = { term: this.term, ...m, from: this.id } as Message
    switch (full.type) {
      // A vote request claims a log and a term. Were either lost in a crash, a late answer could elect the restarted
      // member in the same term with a shorter log than the one that was voted for.
      case 'vote':
      case 'voteReply':
      case 'preVoteReply':
      case 'appendReply':
        this.afterSync.push(full)
        break
      default:
        assertInvariant(full.to !== this.id, () => `${full.type} addressed to itself`)
        this.messages.push(full)
    }
  }

  tick(): void {
    if (this.role === 'leader') {
      this.roles.leaderTick(this)
      return
    }
    this.electionElapsed++
    if (this.electionElapsed >= this.electionTimeout && this.promotable) {
      this.electionElapsed = 0
      this.roles.campaign(this, 'preVote')
    }
  }

  /** Voters campaign; one that waits for a snapshot does not, its log says nothing. */
  get promotable(): boolean {
    return isVoter(this.conf, this.id) && !this.log.hasPendingSnapshot
  }

  becomeFollower(term: Term, leader: NodeId): void {
    this.#reset(term)
    this.leader = leader
    this.#become('follower')
  }

  /** Neither term nor vote changes before a quorum has said that the election could be won (thesis 9.6). */
  becomePreCandidate(): void {
    assertInvariant(this.role !== 'leader', 'a leader does not campaign')
    this.votes.clear()
    this.leader = NONE
    this.#become('preCandidate')
  }

  becomeCandidate(): void {
    assertInvariant(this.role !== 'leader', 'a leader does not campaign')
    this.#reset(this.term + 1)
    this.vote = this.id
    this.#become('candidate')
  }

  becomeLeader(): void {
    assertInvariant(this.role === 'candidate', 'only a candidate becomes leader')
    this.#reset(this.term)
    this.leader = this.id
    this.#become('leader')
    this.roles.leaderElected(this)
  }

  #become(role: Role): void {
    this.role = role
    this.trace?.({ event: 'role', id: this.id, role, term: this.term })
  }

  #reset(term: Term): void {
    assertInvariant(term >= this.term, 'the term went backwards')
    // Stepping down within a term keeps the vote: clearing it would allow a second one.
    if (this.term !== term) {
      this.term = term
      this.vote = NONE
    }
    this.leader = NONE
    this.electionElapsed = 0
    this.heartbeatElapsed = 0
    this.electionTimeout = this.config.electionTicks + Math.floor(this.rng() * this.config.electionTicks)
    this.votes.clear()
    this.leading = noLeadership()
    this.progress.clear()
    this.#trackMembers()
  }

  newProgress(id: NodeId, next: Index): Progress {
    const { maxInflightMessages, maxInflightBytes } = this.config
    return new Progress(
      next,
      this.conf.learners.includes(id),
      new Inflights(maxInflightMessages, maxInflightBytes),
    )
  }

  #trackMembers(): void {
    const before = this.progress
    this.progress = new Map()
    for (const id of members(this.conf)) {
      let pr = before.get(id)
      if (!pr) {
        pr = this.newProgress(id, this.log.lastIndex + 1)
        // Somebody who just joined gets until the next quorum check to be heard.
        pr.recentActive = before.size > 0
      }
      pr.isLearner = this.conf.learners.includes(id)
      this.progress.set(id, pr)
    }
  }

  /** Called before messages are taken. */
  flush(): void {
    if (this.role === 'leader' && this.leading.unsent) this.roles.leaderFlush(this)
  }

  step(m: Message): void {
    this.trace?.({ event: 'receive', id: this.id, term: this.term, message: m })
    if (m.term > this.term) {
      if (!this.#higherTerm(m)) return
    } else if (m.term !== 0 && m.term < this.term) {
      this.#lowerTerm(m)
      return
    }
    if ('commitTerm' in m) this.roles.learnCommit(this, m.commit, m.commitTerm)
    if (m.type === 'vote' || m.type === 'preVote') this.roles.voteStep(this, m)
    else if (this.role === 'leader') this.roles.leaderStep(this, m)
    else if (this.role === 'follower') this.roles.followerStep(this, m)
    else this.roles.candidateStep(this, m)
  }

  /** False when the message must be ignored. */
  #higherTerm(m: Message): boolean {
    if ((m.type === 'vote' || m.type === 'preVote') && this.roles.refusesToHear(this, m)) return false
    if (m.type === 'preVote') return true // a pre-vote never changes the term
    if (m.type === 'preVoteReply' && m.granted) return true // carries the term it was asked for
    const fromLeader = m.type === 'append' || m.type === 'heartbeat' || m.type === 'snapshot'
    this.becomeFollower(m.term, fromLeader ? m.from : NONE)
    return true
  }

  #lowerTerm(m: Message): void {
    if (m.type === 'heartbeat' || m.type === 'append' || m.type === 'snapshot') {
      // A leader of an older term does not know. Our vote requests would be ignored under its lease, so tell it.
      this.send({ type: 'appendReply', to: m.from, index: 0, rejected: false, hintIndex: 0, hintTerm: 0 })
    } else if (m.type === 'preVote') {
      // Silence could deadlock: the asker needs our term to catch up with it.
      this.roles.refuseVote(this, m)
    }
  }

  commitTo(index: Index): void {
    const before = this.log.committed
    this.log.commitTo(index)
    if (this.log.committed !== before) this.traceCommit()
  }

  traceCommit(): void {
    this.trace?.({ event: 'commit', id: this.id, term: this.term, commit: this.log.committed })
  }

  /** Called when the entry is applied. A change that is not possible changes nothing, on every member alike. */
  applyConf(change: ConfChange): ConfState {
    this.switchConf(nextConf(this.conf, change))
    return this.conf
  }

  switchConf(conf: ConfState): void {
    this.conf = conf
    this.#trackMembers()
    this.trace?.({ event: 'conf', id: this.id, term: this.term, conf })
    if (this.role === 'leader') this.roles.leaderConfChanged(this)
  }

  appliedTo(index: Index): void {
    const done: readonly Entry[] = this.log.appliedTo(index)
    if (this.role !== 'leader') return
    for (const e of done) this.leading.uncommittedBytes -= e.data.length
    this.leading.uncommittedBytes = Math.max(0, this.leading.uncommittedBytes)
    this.roles.leaderApplied(this)
  }
}

function nextConf(conf: ConfState, change: ConfChange): ConfState {
  try {
    return applyConfChange(conf, change)
  } catch (e) {
    if (e instanceof RaftError && e.code === 'conf_invalid') return conf
    throw e
  }
}
