import { type ConfChange, type ConfChangeItem, type ConfState, type NodeId } from '../../raft/index.ts'

/** A host of the cluster, as the leader sees its member. */
export interface Candidate {
  readonly member: NodeId
  /** It answers the leader and has nearly the whole log: fit to vote. */
  readonly ready: boolean
  /** Silent for so long that a live learner takes its vote. */
  readonly lost: boolean
  /** It is to be switched off: it should neither lead nor vote. */
  readonly leaving?: boolean
}

/** What the leader does next about the members. */
export type Step = { readonly change: ConfChange } | { readonly handTo: NodeId }

/** 1 voter for one or two nodes, 3 from three, 5 from five (docs/architecture.md, decision 14). */
export function wantedVoters(nodes: number): number {
  return nodes >= 5 ? 5 : nodes >= 3 ? 3 : 1
}

/**
 * The next step, or undefined when all is as it should be. Every node becomes a learner first; then enough ready
 * learners become voters together, so that the set goes from 1 to 3 without standing at 2. A voter that is lost is
 * replaced, never dropped: the set shrinks only with the number of nodes, which only an admin's remove lowers.
 */
export function nextStep(nodes: readonly Candidate[], conf: ConfState, self: NodeId): Step | undefined {
  if (conf.votersOutgoing.length || !nodes.length) return undefined
  const known = [...conf.voters, ...conf.learners]
  const stranger = nodes.find(({ member }) => !known.includes(member))
  if (stranger) return { change: { changes: [{ type: 'learner', id: stranger.member }] } }
  const voters = nodes.filter(({ member }) => conf.voters.includes(member))
  const spare = nodes.filter(
    ({ member, ready, leaving }) => ready && !leaving && conf.learners.includes(member),
  )
  const here = nodes.find(({ member }) => member === self)
  if (!here) return succession(voters, spare)
  if (here.leaving) {
    const others = voters.filter(({ member, leaving }) => member !== self && !leaving)
    // With nobody to follow it, it leads on: a cluster without a leader would be worse.
    const heir = succession(others, spare)
    if (heir) return heir
  }
  const removed = known.filter((id) => nodes.every(({ member }) => member !== id))
  const changes = changesOf(nodes.length, voters, spare, removed, self)
  return changes.length ? { change: { changes } } : undefined
}

/** The leader's own host was removed or goes: another voter takes over, and there is one, before it does. */
function succession(voters: readonly Candidate[], spare: readonly Candidate[]): Step | undefined {
  const heir = voters.find(({ ready }) => ready)
  if (heir) return { handTo: heir.member }
  return voters.length || !spare[0]
    ? undefined
    : { change: { changes: [{ type: 'voter', id: spare[0].member }] } }
}

function changesOf(
  nodes: number,
  voters: readonly Candidate[],
  spare: readonly Candidate[],
  removed: readonly NodeId[],
  self: NodeId,
): ConfChangeItem[] {
  const wanted = wantedVoters(nodes)
  const fit = (each: Candidate) =>
    each.member === self ? 3 : each.ready && !each.leaving ? 2 : each.lost || each.leaving ? 0 : 1
  const ranked = voters.toSorted((a, b) => fit(b) - fit(a) || a.member - b.member)
  const kept = ranked.slice(0, wanted)
  const missing = wanted - kept.length
  const seats = missing <= spare.length ? missing : 0
  const replaced = kept
    .filter(({ lost, leaving, member }) => (lost || leaving) && member !== self)
    .slice(0, spare.length - seats)
  const promoted = spare.slice(0, seats + replaced.length)
  const demoted = [...ranked.slice(wanted), ...replaced]
  const after = [...kept.filter((each) => !replaced.includes(each)), ...promoted]
  const answering = after.filter(({ ready, member }) => ready || member === self)
  // A set that could decide nothing must not be entered: it could not be left either.
  if (answering.length <= after.length / 2) return []
  return [
    ...promoted.map(({ member }) => ({ type: 'voter' as const, id: member })),
    ...demoted.map(({ member }) => ({ type: 'learner' as const, id: member })),
    ...removed.map((id) => ({ type: 'remove' as const, id })),
  ]
}
