import { isVoter, members } from './confchange.ts'
import type { Raft } from './core.ts'
import { fromLeader } from './follower.ts'
import { quorumVote, type VoteResult } from './quorum.ts'
import { NONE, type Index, type Message, type NodeId, type Term, type VoteMessage } from './types.ts'

/** By pre-vote; by a vote, after a pre-vote was won; or at the leader's wish (thesis 3.10). */
export type Campaign = 'preVote' | 'vote' | 'transfer'

const replyTo = { vote: 'voteReply', preVote: 'preVoteReply' } as const

export function campaign(r: Raft, kind: Campaign): void {
  if (r.role === 'leader' || !r.promotable) return
  // A committed change that is not applied here yet could mean that this member is no voter any more.
  if (r.log.hasUnappliedConfig()) return
  const type = kind === 'preVote' ? 'preVote' : 'vote'
  if (type === 'preVote') r.becomePreCandidate()
  else r.becomeCandidate()
  const term = type === 'preVote' ? r.term + 1 : r.term
  const { lastIndex, lastTerm } = r.log
  const known = commitHint(r)
  for (const to of members(r.conf)) {
    if (!isVoter(r.conf, to)) continue
    // The own vote counts like any other, once it is durable.
    if (to === r.id) r.send({ type: replyTo[type], to, term, granted: true, ...known })
    else r.send({ type, to, term, lastIndex, lastTerm, transfer: kind === 'transfer', ...known })
  }
}

export function candidateStep(r: Raft, m: Message): void {
  switch (m.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      // The term is ours, so somebody else has won it.
      r.becomeFollower(m.term, m.from)
      fromLeader(r, m)
      break
    case 'voteReply':
    case 'preVoteReply': {
      // A pre-vote that answers late says nothing about the real election.
      if (m.type !== (r.role === 'preCandidate' ? 'preVoteReply' : 'voteReply')) return
      const result = recordVote(r, m.from, m.granted)
      if (result === 'lost') r.becomeFollower(r.term, NONE)
      else if (result === 'won' && r.role === 'preCandidate') campaign(r, 'vote')
      else if (result === 'won') r.becomeLeader()
      break
    }
    default:
      // timeoutNow too: the campaign it asks for is running.
      break
  }
}

function recordVote(r: Raft, from: NodeId, granted: boolean): VoteResult {
  // The first answer counts; a duplicate must not change it.
  if (!r.votes.has(from)) r.votes.set(from, granted)
  return quorumVote(r.conf, r.votes)
}

/** While a leader is alive nobody else is heard, or a member that lost touch would depose it (thesis 4.2.3). */
export function refusesToHear(r: Raft, m: VoteMessage): boolean {
  return !m.transfer && r.leader !== NONE && r.electionElapsed < r.config.electionTicks
}

export function voteStep(r: Raft, m: VoteMessage): void {
  const canVote =
    r.vote === m.from || (r.vote === NONE && r.leader === NONE) || (m.type === 'preVote' && m.term > r.term)
  // Learners vote too: one that was promoted may not know yet, and its vote may be the one that is needed.
  if (!canVote || !r.log.isUpToDate(m.lastIndex, m.lastTerm)) {
    refuseVote(r, m)
    return
  }
  // The term that was asked for: a pre-candidate with an old term would ignore this member's own.
  r.send({ type: replyTo[m.type], to: m.from, term: m.term, granted: true, ...commitHint(r) })
  if (m.type === 'vote') {
    r.electionElapsed = 0
    r.vote = m.from
  }
}

/** With the own term, so that an asker of an older one catches up. */
export function refuseVote(r: Raft, m: VoteMessage): void {
  r.send({ type: replyTo[m.type], to: m.from, granted: false, ...commitHint(r) })
}

function commitHint(r: Raft): { commit: Index; commitTerm: Term } {
  const { committed } = r.log
  return { commit: committed, commitTerm: r.log.term(committed) ?? 0 }
}

/** What is committed stays committed, whoever says so, if it is the same entry here. */
export function learnCommit(r: Raft, index: Index, term: Term): void {
  if (r.role === 'leader' || term === 0 || !r.log.maybeCommit(index, term)) return
  r.traceCommit()
  // The election may be running in a configuration of the past.
  if (r.role !== 'follower' && r.log.hasUnappliedConfig()) r.becomeFollower(r.term, NONE)
}
