import { applyConfChange, isJoint, isVoter, members } from './confchange.ts'
import { encodeConfChange } from './codec.ts'
import type { Raft, ReadRequest } from './core.ts'
import type { Progress } from './progress.ts'
import { quorumIndex, quorumVote } from './quorum.ts'
import {
  NONE,
  RaftError,
  assertInvariant,
  type AppendReply,
  type ConfChange,
  type EntryKind,
  type HeartbeatReply,
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
  // There may be an unapplied change in the tail; waiting for all of it is cheaper than looking, and also makes sure
  // that no change is proposed before something of this term has committed (the bug in single-server changes).
  r.leading.pendingConfIndex = r.log.lastIndex
  appendEntry(r, 'normal', EMPTY)
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
    if (id !== r.id) pr.recentActive = false
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
  } else if (m.type === 'heartbeatReply') {
    pr.recentActive = true
    handleHeartbeatReply(r, pr, m)
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
  // Counts for the quorum when it is durable here, like everybody's.
  r.send({ type: 'appendReply', to: r.id, index: at.index, rejected: false, hintIndex: 0, hintTerm: 0 })
  return at
}

/** Leaves a joint configuration as soon as it is applied, whoever is leader by then (thesis 4.3). */
export function leaderApplied(r: Raft): void {
  if (!r.conf.autoLeave || r.log.applied < r.leading.pendingConfIndex || !canPropose(r)) return
  proposeConf(r, { changes: [] })
}

export function leaderConfChanged(r: Raft): void {
  if (!isVoter(r.conf, r.id)) {
    // Removed or demoted. The others may not know the commit yet and might wait for this member's vote in vain.
    leaderFlush(r)
    r.becomeFollower(r.term, NONE)
    return
  }
  // A smaller quorum may commit more; who joined should not wait for a heartbeat.
  maybeCommit(r)
  r.leading.unsent = true
  confirmReads(r)
  if (r.leading.transferee !== NONE && !isVoter(r.conf, r.leading.transferee)) r.leading.transferee = NONE
}

// ---- replication

function progressOf(r: Raft, id: NodeId): Progress {
  const pr = r.progress.get(id)
  assertInvariant(pr !== undefined, () => `no progress for member ${id}`)
  return pr
}

export function leaderFlush(r: Raft): void {
  r.leading.unsent = false
  for (const [id, pr] of r.progress) {
    if (id === r.id) continue
    let sent = false
    while (sendAppend(r, id, false)) sent = true
    if (!sent && pr.canBumpCommit(r.log.committed)) sendAppend(r, id, true)
  }
}

/** Sends the next entries, or without any just the commit index if `evenEmpty`. True if something was sent. */
function sendAppend(r: Raft, to: NodeId, evenEmpty: boolean): boolean {
  if (to === r.id) return false
  const pr = r.progress.get(to)
  if (!pr || pr.blocked) return false
  const prevIndex = pr.next - 1
  const prevTerm = r.log.term(prevIndex)
  // A full window still lets empty appends through (after a heartbeat), else lost messages would stall it for ever.
  const room = pr.state !== 'replicate' || !pr.inflights.full
  const entries =
    prevTerm === undefined ? undefined : room ? r.log.entries(pr.next, r.config.maxMessageBytes) : []
  if (prevTerm === undefined || entries === undefined) return sendSnapshot(r, to, pr)
  if (entries.length === 0 && !evenEmpty) return false
  const { committed } = r.log
  r.send({ type: 'append', to, prevIndex, prevTerm, commit: committed, entries })
  pr.sentAppend(
    entries.length,
    entries.reduce((n, e) => n + e.data.length, 0),
    committed,
  )
  return true
}

/** Only to members that answer, or snapshots for the dead would be made again and again. */
function sendSnapshot(r: Raft, to: NodeId, pr: Progress): boolean {
  if (!pr.recentActive) return false
  const meta = r.log.snapshot()
  // A snapshot from before the member joined would be refused by it.
  if (!meta || meta.bytes === 0 || !members(meta.conf).includes(to)) {
    r.snapshotWanted = true
    return false
  }
  assertInvariant(meta.index + 1 >= r.log.firstIndex, 'the snapshot is older than the log')
  pr.becomeSnapshot(meta.index)
  r.send({ type: 'snapshot', to, meta })
  return true
}

function broadcastHeartbeat(r: Raft): void {
  const { reads } = r.leading
  const read = reads.unconfirmed.length > 0 ? reads.confirmed + reads.unconfirmed.length : 0
  for (const [to, pr] of r.progress) {
    if (to === r.id) continue
    // Never beyond what the member is known to have: its log may still conflict above.
    const commit = Math.min(pr.match, r.log.committed)
    r.send({ type: 'heartbeat', to, commit, read })
    pr.sentHeartbeat(commit)
  }
}

function maybeCommit(r: Raft): boolean {
  const index = quorumIndex(r.conf, (id) => r.progress.get(id)?.match ?? 0)
  if (!r.log.maybeCommit(index, r.term)) return false
  r.traceCommit()
  releaseEarlyReads(r)
  r.leading.unsent = true
  return true
}

function handleRejection(r: Raft, pr: Progress, m: AppendReply): void {
  // The follower said where its log may match ours. If its term there is smaller than ours, skip all of ours that are
  // larger: they cannot match either. One probe per term at most, instead of one per entry.
  const hint = m.hintTerm > 0 ? r.log.findConflict(m.hintIndex, m.hintTerm).index : m.hintIndex
  if (pr.rejected(m.index, hint)) sendAppend(r, m.from, true)
}

function handleAck(r: Raft, pr: Progress, m: AppendReply): void {
  const news = pr.acked(m.index)
  // An unchanged match still ends probing: the follower has answered the probe.
  if (!news && !(pr.state === 'probe' && pr.match === m.index)) return
  if (pr.state === 'probe') pr.becomeReplicate()
  else if (pr.state === 'replicate') pr.inflights.freeTo(m.index)
  else if (pr.match + 1 >= r.log.firstIndex) {
    // However it got there, the log reaches it again.
    pr.becomeProbe()
    pr.becomeReplicate()
  }
  maybeCommit(r)
  // It may lack the commit index, and the answer may have made room for more.
  r.leading.unsent = true
  if (m.from === r.leading.transferee && pr.match === r.log.lastIndex)
    r.send({ type: 'timeoutNow', to: m.from })
}

function handleHeartbeatReply(r: Raft, pr: Progress, m: HeartbeatReply): void {
  pr.paused = false
  // Repairs lost appends: whoever lacks entries, or is probed, hears from us again.
  if (pr.match < r.log.lastIndex || pr.state === 'probe') sendAppend(r, m.from, true)
  if (m.read === 0) return
  const { acks } = r.leading.reads
  acks.set(m.from, Math.max(acks.get(m.from) ?? 0, m.read))
  confirmReads(r)
}

// ---- linearizable reads (thesis 6.4)

export function requestRead(r: Raft, id: string, from: NodeId): void {
  // Until something of this term is committed, the commit index may be older than what the last leader acknowledged.
  if (r.log.term(r.log.committed) !== r.term) r.leading.reads.early.push({ id, from })
  else enqueueRead(r, id, from)
}

function releaseEarlyReads(r: Raft): void {
  const { reads } = r.leading
  if (reads.early.length === 0 || r.log.term(r.log.committed) !== r.term) return
  const early = reads.early
  reads.early = []
  for (const { id, from } of early) enqueueRead(r, id, from)
}

function enqueueRead(r: Raft, id: string, from: NodeId): void {
  const { reads } = r.leading
  reads.unconfirmed.push({ id, from, index: r.log.committed })
  reads.acks.set(r.id, reads.confirmed + reads.unconfirmed.length)
  broadcastHeartbeat(r)
  confirmReads(r) // a lone voter needs nobody else
}

/** Positions only grow within a term, so one acknowledgement confirms every read before it and never a later one. */
function confirmReads(r: Raft): void {
  const { reads } = r.leading
  const position = quorumIndex(r.conf, (id) => reads.acks.get(id) ?? 0)
  if (position <= reads.confirmed) return
  const done = reads.unconfirmed.splice(0, position - reads.confirmed)
  reads.confirmed = position
  for (const read of done) answerRead(r, read)
}

function answerRead(r: Raft, { id, from, index }: ReadRequest): void {
  if (from === r.id) r.reads.push({ id, index })
  else r.send({ type: 'readIndexReply', to: from, id, index })
}

// ---- leadership transfer (thesis 3.10)

export function transferLeadership(r: Raft, to: NodeId): void {
  const pr = r.progress.get(to)
  if (r.role !== 'leader' || !pr || !isVoter(r.conf, to) || to === r.id || r.leading.transferee === to) return
  r.electionElapsed = 0 // it gets one election timeout
  r.leading.transferee = to
  if (pr.match === r.log.lastIndex) r.send({ type: 'timeoutNow', to })
  else sendAppend(r, to, true)
}

export function reportUnreachable(r: Raft, id: NodeId): void {
  if (r.role === 'leader') r.progress.get(id)?.unreachable()
}

export function reportSnapshot(r: Raft, id: NodeId, ok: boolean): void {
  const pr = r.role === 'leader' ? r.progress.get(id) : undefined
  if (pr?.state !== 'snapshot') return
  if (ok) pr.snapshotDelivered()
  else pr.snapshotFailed()
}
