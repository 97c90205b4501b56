import { members } from './confchange.ts'
import type { Raft } from './core.ts'
import { type AppendMessage, type HeartbeatMessage, type Message, type SnapshotMessage } from './types.ts'

export function followerStep(r: Raft, m: Message): void {
  switch (m.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      r.electionElapsed = 0
      r.leader = m.from
      fromLeader(r, m)
      break
    case 'timeoutNow':
      // Without pre-vote: the leader wants it, so this is no recovery from a partition.
      r.roles.campaign(r, 'transfer')
      break
    case 'readIndexReply':
      r.reads.push({ id: m.id, index: m.index })
      break
    default:
      break
  }
}

/** What every member does with what the leader of its term says. */
export function fromLeader(r: Raft, m: AppendMessage | HeartbeatMessage | SnapshotMessage): void {
  if (m.type === 'append') handleAppend(r, m)
  else if (m.type === 'heartbeat') handleHeartbeat(r, m)
  else handleSnapshot(r, m)
}

function handleAppend(r: Raft, m: AppendMessage): void {
  const { log } = r
  const reply = (index: number) =>
    r.send({ type: 'appendReply', to: m.from, index, rejected: false, hintIndex: 0, hintTerm: 0 })
  // Committed entries match the leader's by leader completeness; nothing to compare.
  if (m.prevIndex < log.committed) {
    reply(log.committed)
    return
  }
  const before = log.committed
  const last = log.maybeAppend(m.prevIndex, m.prevTerm, m.entries, m.commit)
  if (last !== undefined) {
    if (log.committed !== before) r.traceCommit()
    reply(last)
    return
  }
  const hint = log.findConflict(Math.min(m.prevIndex, log.lastIndex), m.prevTerm)
  r.send({
    type: 'appendReply',
    to: m.from,
    index: m.prevIndex,
    rejected: true,
    hintIndex: hint.index,
    hintTerm: hint.term,
  })
}

function handleHeartbeat(r: Raft, m: HeartbeatMessage): void {
  r.commitTo(m.commit)
  r.send({ type: 'heartbeatReply', to: m.from, read: m.read })
}

function handleSnapshot(r: Raft, m: SnapshotMessage): void {
  const index = restore(r, m) ? r.log.lastIndex : r.log.committed
  r.send({ type: 'appendReply', to: m.from, index, rejected: false, hintIndex: 0, hintTerm: 0 })
}

/** False when the snapshot teaches nothing new. */
function restore(r: Raft, { meta }: SnapshotMessage): boolean {
  if (meta.index <= r.log.committed) return false
  // A snapshot of a configuration without this member is not for it.
  if (!members(meta.conf).includes(r.id)) return false
  if (r.log.matches(meta.index, meta.term)) {
    // Everything up to the snapshot is here already, and now known to be committed.
    r.commitTo(meta.index)
    return false
  }
  // The whole log goes, also entries beyond the snapshot: they conflict somewhere below.
  r.log.restore(meta)
  r.traceCommit()
  r.switchConf(meta.conf)
  return true
}
