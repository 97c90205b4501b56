import type { Raft } from './core.ts'
import type { ReadRequest } from './leadership.ts'
import { quorumIndex } from './quorum.ts'
import { broadcastHeartbeat } from './replication.ts'
import type { HeartbeatReply, NodeId } from './types.ts'

// Linearizable reads (thesis 6.4): a leader that a quorum still follows after the request came in knows all commits.

export function requestRead(r: Raft, id: string, from: NodeId): void {
  // Until something of this term is committed, the commit index may be older than what the last leader acknowledged.
  // For a lone voter too, although etcd answers at once there: its commit index is written lazily, so after a restart it
  // may stand below what was acknowledged.
  if (r.log.term(r.log.committed) !== r.term) r.leading.reads.early.push({ id, from })
  else enqueueRead(r, id, from)
}

/** Called whenever something may have been committed. */
export function releaseEarlyReads(r: Raft): void {
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

export function readAcknowledged(r: Raft, { from, read }: HeartbeatReply): void {
  if (read === 0) return
  const { acks } = r.leading.reads
  acks.set(from, Math.max(acks.get(from) ?? 0, read))
  confirmReads(r)
}

/** Positions only grow within a term, so one acknowledgement confirms every read before it and never a later one. */
export function confirmReads(r: Raft): void {
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
