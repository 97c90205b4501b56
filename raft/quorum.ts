import type { ConfState, Index, NodeId } from './types.ts'

export type VoteResult = 'won' | 'lost' | 'pending'

/** The largest index that a majority of `voters` has acknowledged; Infinity for no voters, so that it drops out of a minimum. */
export function majorityIndex(voters: readonly NodeId[], acked: (id: NodeId) => Index): Index {
  if (voters.length === 0) return Infinity
  const sorted = voters.map(acked).sort((a, b) => b - a)
  return sorted[voters.length >> 1] as Index
}

/** In a joint configuration both halves must agree (thesis 4.3). */
export function quorumIndex(conf: ConfState, acked: (id: NodeId) => Index): Index {
  const index = Math.min(majorityIndex(conf.voters, acked), majorityIndex(conf.votersOutgoing, acked))
  return index === Infinity ? 0 : index
}

function majorityVote(voters: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  const majority = (voters.length >> 1) + 1
  let yes = 0
  let missing = 0
  for (const id of voters) {
    const vote = votes.get(id)
    if (vote === undefined) missing++
    else if (vote) yes++
  }
  if (voters.length === 0 || yes >= majority) return 'won'
  return yes + missing >= majority ? 'pending' : 'lost'
}

export function quorumVote(conf: ConfState, votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  const a = majorityVote(conf.voters, votes)
  const b = majorityVote(conf.votersOutgoing, votes)
  if (a === b) return a
  return a === 'lost' || b === 'lost' ? 'lost' : 'pending'
}
