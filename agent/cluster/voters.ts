import type { ConfChange, ConfState } from '../../raft/index.ts'

/** A member that may be promoted: it answers the leader and has nearly the whole log. */
export interface Candidate {
  readonly member: number
  readonly ready: boolean
}

/** 1 voter for one or two nodes, 3 from three, 5 from five (docs/architecture.md, decision 14). */
export function wantedVoters(nodes: number): number {
  return nodes >= 5 ? 5 : nodes >= 3 ? 3 : 1
}

/**
 * The next membership change, or undefined when all is as it should be: first every node of the cluster becomes a
 * learner, then enough ready learners become voters together, so that the set goes from 1 to 3 without standing at 2.
 * The set never shrinks here: only an admin's remove does that.
 */
export function nextChange(nodes: readonly Candidate[], conf: ConfState): ConfChange | undefined {
  if (conf.votersOutgoing.length) return undefined
  const known = new Set([...conf.voters, ...conf.learners])
  const stranger = nodes.find(({ member }) => !known.has(member))
  if (stranger) return { changes: [{ type: 'learner', id: stranger.member }] }
  const missing = wantedVoters(nodes.length) - conf.voters.length
  const ready = nodes.filter(({ member, ready }) => ready && conf.learners.includes(member))
  if (missing <= 0 || ready.length < missing) return undefined
  return { changes: ready.slice(0, missing).map(({ member }) => ({ type: 'voter', id: member })) }
}
