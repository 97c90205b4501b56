import { members } from './confchange.ts'
import type { Raft } from './core.ts'
import type { Progress } from './progress.ts'
import { quorumIndex } from './quorum.ts'
import { assertInvariant, type AppendReply, type HeartbeatReply, type NodeId } from './types.ts'

export function progressOf(r: Raft, id: NodeId): Progress {
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
export function sendAppend(r: Raft, to: NodeId, evenEmpty: boolean): boolean {
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

export function broadcastHeartbeat(r: Raft): void {
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

export function maybeCommit(r: Raft): void {
  const index = quorumIndex(r.conf, (id) => r.progress.get(id)?.match ?? 0)
  if (!r.log.maybeCommit(index, r.term)) return
  r.traceCommit()
  r.leading.unsent = true
}

export function handleRejection(r: Raft, pr: Progress, m: AppendReply): void {
  // The follower said where its log may match ours. If its term there is smaller than ours, skip all of ours that are
  // larger: they cannot match either. One probe per term at most, instead of one per entry.
  const hint = m.hintTerm > 0 ? r.log.findConflict(m.hintIndex, m.hintTerm).index : m.hintIndex
  if (pr.rejected(m.index, hint)) sendAppend(r, m.from, true)
}

export function handleAck(r: Raft, pr: Progress, m: AppendReply): void {
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

export function handleHeartbeatReply(r: Raft, pr: Progress, m: HeartbeatReply): void {
  pr.paused = false
  // Repairs lost appends: whoever lacks entries, or is probed, hears from us again.
  if (pr.match < r.log.lastIndex || pr.state === 'probe') sendAppend(r, m.from, true)
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
