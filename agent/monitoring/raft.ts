import { X509Certificate } from 'node:crypto'
import type { Cluster } from '../cluster/cluster.ts'
import { type Family, family } from './family.ts'

export interface RaftSource {
  readonly cluster: Pick<Cluster, 'self' | 'status' | 'staleMs'>
  /** The driver's own counters. */
  readonly metrics: () => Record<string, number>
  /** How often another leader was seen. */
  readonly leaderChanges: () => number
  /** PEM. */
  readonly certificate: () => string
}

const roles = ['leader', 'follower', 'learner'] as const

/** This member's part in Raft. */
export function raftFamilies({ cluster, metrics, leaderChanges, certificate }: RaftSource): Family[] {
  const { leader, isLeader, term, commit, applied, voters, learners } = cluster.status()
  const role = isLeader ? 'leader' : voters.includes(cluster.self.member) ? 'follower' : 'learner'
  const gauge = (name: string, help: string, value: number) => family('gauge', `submarine_raft_${name}`, help, value) // prettier-ignore
  const staleMs = cluster.staleMs()
  return [
    family('gauge', 'submarine_raft_role', 'What this member is: 1 for its role, 0 for the others.',
      roles.map((each) => ({ labels: { role: each }, value: each === role ? 1 : 0 }))),
    gauge('has_leader', 'Whether this member knows a leader.', leader === null ? 0 : 1),
    gauge('term', 'Current term.', term),
    gauge('commit_index', 'Last entry that is committed, as far as this member knows.', commit),
    gauge('applied_index', 'Last entry that is applied here.', applied),
    gauge('voters', 'Members that vote.', voters.length),
    gauge('learners', 'Members that do not vote.', learners.length),
    family('gauge', 'submarine_raft_staleness_seconds', 'Since this copy was known to be as new as the leader’s.',
      [{ labels: {}, value: staleMs === null ? null : staleMs / 1000 }]),
    family('counter', 'submarine_raft_leader_changes_seen_total', 'How often this member saw another leader.', leaderChanges()),
    ...driverFamilies(metrics()),
    family('gauge', 'submarine_certificate_expiry_timestamp_seconds', 'When this node’s certificate expires, since the epoch.',
      Date.parse(new X509Certificate(certificate()).validTo) / 1000),
  ] // prettier-ignore
}

function driverFamilies(m: Record<string, number>): Family[] {
  const count = (name: string, help: string, key: string) =>
    family('counter', `submarine_raft_${name}_total`, help, m[key] ?? 0)
  return [
    count('proposals', 'Commands proposed at this member.', 'proposals'),
    count('barriers', 'Linearizable reads asked of this member.', 'barriers'),
    family('gauge', 'submarine_raft_proposals_pending', 'Commands proposed here that wait for their outcome.', m['pendingProposals'] ?? 0),
    count('entries_applied', 'Entries applied here.', 'applied'),
    count('messages_received', 'Messages from the other members.', 'messagesIn'),
    count('messages_sent', 'Messages to the other members.', 'messagesOut'),
    count('role_changes', 'How often this member took another role.', 'roleChanges'),
    count('ticks_dropped', 'Ticks of the clock that were left out after a standstill.', 'ticksDropped'),
    count('snapshots_taken', 'Snapshots taken here.', 'snapshotsTaken'),
    count('snapshots_sent', 'Snapshots sent to other members.', 'snapshotsSent'),
    count('snapshots_failed', 'Snapshots that did not reach the other member.', 'snapshotsFailed'),
    count('snapshots_installed', 'Snapshots that replaced this member’s state.', 'snapshotsInstalled'),
    {
      name: 'submarine_raft_log_sync_duration_seconds', help: 'How long writing entries durably took.', type: 'summary',
      samples: [{ suffix: '_sum', value: (m['syncMsTotal'] ?? 0) / 1000 }, { suffix: '_count', value: m['syncs'] ?? 0 }],
    },
    family('gauge', 'submarine_raft_log_sync_duration_max_seconds', 'The longest of them since the agent started.', (m['syncMsMax'] ?? 0) / 1000),
    family('gauge', 'submarine_raft_log_entries', 'Entries in this member’s log.', Math.max(0, (m['lastIndex'] ?? 0) - (m['firstIndex'] ?? 1) + 1)),
  ] // prettier-ignore
}
