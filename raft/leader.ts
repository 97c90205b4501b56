import { applyConfChange, isJoint, isVoter } from './confchange.ts'
import { encodeConfChange } from './codec.ts'
import type { Raft } from './core.ts'
import { quorumVote } from './quorum.ts'
import { confirmReads, readAcknowledged, releaseEarlyReads, requestRead } from './read-index.ts'
import {
  broadcastHeartbeat,
  handleAck,
  handleHeartbeatReply,
  handleRejection,
  leaderFlush,
  maybeCommit,
  progressOf,
  sendAppend,
} from './replication.ts'
import {
  NONE,
  RaftError,
  type ConfChange,
  type EntryKind,
  type Index,
  type Message,
  type NodeId,
  type Term,
} from './types.ts'

/** Where a proposal stands in the log, unless another leader replaces it. */
export interface Proposed {
  readonly index: Index
  readonly term: Term
}

const EMPTY = new Uint8Array(0)

export function leaderElected(r: Raft): void {
  const self = progressOf(r, r.id)
  self.becomeReplicate()
  self.recentActive = true
  // There may be an unapplied change in the tail; waiting for all of it is cheaper than looking. Waiting for the own entry
  // too (etcd does not) makes sure that something of this term has committed (the bug in single-server changes).
  r.leading.pendingConfIndex = appendEntry(r, 'normal', EMPTY).index
}

export function leaderTick(r: Raft): void {
  r.heartbeatElapsed++
  r.electionElapsed++
  if (r.electionElapsed >= r.config.electionTicks) {
    r.electionElapsed = 0
    checkQuorum(r)
    if (r.role !== 'leader') return
    if (r.leading.transferee !== NONE) {
      r.leading.transferee = NONE // the transfer had its time
      leaderApplied(r) // what could not be proposed meanwhile
    }
  }
  if (r.heartbeatElapsed >= r.config.heartbeatTicks) {
    r.heartbeatElapsed = 0
    broadcastHeartbeat(r)
  }
}

/** A leader that a quorum does not answer steps down, so that its clients go elsewhere (thesis 6.2). */
function checkQuorum(r: Raft): void {
  const active = new Map<NodeId, boolean>()
  for (const [id, pr] of r.progress) {
    active.set(id, pr.recentActive || id === r.id)
    if (id === r.id) continue
    pr.activeBefore = pr.recentActive
    pr.recentActive = false
  }
  if (quorumVote(r.conf, active) !== 'won') r.becomeFollower(r.term, NONE)
}

export function leaderStep(r: Raft, m: Message): void {
  if (m.type === 'readIndex') {
    requestRead(r, m.id, m.from)
    return
  }
  const pr = r.progress.get(m.from)
  if (!pr) return
  if (m.type === 'appendReply') {
    pr.recentActive = true
    if (m.rejected) handleRejection(r, pr, m)
    else handleAck(r, pr, m)
    releaseEarlyReads(r)
  } else if (m.type === 'heartbeatReply') {
    pr.recentActive = true
    handleHeartbeatReply(r, pr, m)
    readAcknowledged(r, m)
  }
}

// ---- proposals

export function propose(r: Raft, data: Uint8Array): Proposed | 'dropped' | 'busy' {
  const { maxUncommittedBytes } = r.config
  if (!canPropose(r)) return 'dropped'
  const { uncommittedBytes } = r.leading
  if (uncommittedBytes > 0 && uncommittedBytes + data.length > maxUncommittedBytes) return 'busy'
  return appendEntry(r, 'normal', data)
}

/** A removed leader, or one that hands over, takes nothing new. */
function canPropose(r: Raft): boolean {
  return r.role === 'leader' && r.leading.transferee === NONE && r.progress.has(r.id)
}

export function proposeConf(r: Raft, change: ConfChange): Proposed {
  if (!canPropose(r))
    throw new RaftError('not_leader', 'only a leader that is not handing over can change members')
  if (r.leading.pendingConfIndex > r.log.applied)
    throw new RaftError(
      'conf_pending',
      `a configuration change up to index ${r.leading.pendingConfIndex} is not applied yet`,
    )
  if (isJoint(r.conf) && change.changes.length > 0)
    throw new RaftError('conf_pending', 'the joint configuration must be left first')
  applyConfChange(r.conf, change)
  const at = appendEntry(r, 'config', encodeConfChange(change))
  r.leading.pendingConfIndex = at.index
  return at
}

function appendEntry(r: Raft, kind: EntryKind, data: Uint8Array): Proposed {
  const at = { index: r.log.lastIndex + 1, term: r.term }
  r.log.append([{ ...at, kind, data }])
  r.leading.uncommittedBytes += data.length
  r.leading.unsent = true
  acknowledgeOwn(r, at.index)
  return at
}

/** Counts for the quorum when it is durable here, like everybody's. One answer speaks for all entries up to its index. */
function acknowledgeOwn(r: Raft, index: Index): void {
  // One that is still here has not been handed out.
  const last = r.afterSync.at(-1)
  if (last?.type === 'appendReply' && last.to === r.id && last.term === r.term)
    (last as { index: Index }).index = index
  else r.send({ type: 'appendReply', to: r.id, index, rejected: false, hintIndex: 0, hintTerm: 0 })
}

/** Leaves a joint configuration as soon as it is applied, whoever is leader by then (thesis 4.3). */
export function leaderApplied(r: Raft): void {
  if (!r.conf.autoLeave || r.log.applied < r.leading.pendingConfIndex || !canPropose(r)) return
  proposeConf(r, { changes: [] })
}

export function leaderConfChanged(r: Raft): void {
  if (!isVoter(r.conf, r.id)) {
    // Removed or demoted (etcd leaves stepping down to an option; a leader outside of its cluster helps nobody). The others may not know the commit yet and might wait for this member's vote in vain.
    leaderFlush(r)
    r.becomeFollower(r.term, NONE)
    return
  }
  // A smaller quorum may commit more; who joined should not wait for a heartbeat.
  maybeCommit(r)
  releaseEarlyReads(r)
  r.leading.unsent = true
  confirmReads(r)
  if (r.leading.transferee !== NONE && !isVoter(r.conf, r.leading.transferee)) r.leading.transferee = NONE
}

// ---- leadership transfer (thesis 3.10)

/** To itself, it takes an earlier wish back. Ignored by others than the leader: who asks can find it by `leader`. */
export function transferLeadership(r: Raft, to: NodeId): void {
  const pr = r.progress.get(to)
  if (r.role !== 'leader' || !pr || !isVoter(r.conf, to) || r.leading.transferee === to) return
  r.leading.transferee = NONE
  if (to === r.id) {
    leaderApplied(r)
    return
  }
  r.electionElapsed = 0 // it gets one election timeout
  r.leading.transferee = to
  if (pr.match === r.log.lastIndex) r.send({ type: 'timeoutNow', to })
  else sendAppend(r, to, true)
}
