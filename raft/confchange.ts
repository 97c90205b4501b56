import { RaftError, type ConfChange, type ConfChangeItem, type ConfState, type NodeId } from './types.ts'

interface Draft {
  voters: Set<NodeId>
  outgoing: Set<NodeId>
  learners: Set<NodeId>
  learnersNext: Set<NodeId>
}

const sorted = (ids: Iterable<NodeId>): NodeId[] => [...ids].sort((a, b) => a - b)

function draftOf(c: ConfState): Draft {
  return {
    voters: new Set(c.voters),
    outgoing: new Set(c.votersOutgoing),
    learners: new Set(c.learners),
    learnersNext: new Set(c.learnersNext),
  }
}

function finish(d: Draft, autoLeave: boolean): ConfState {
  const conf: ConfState = {
    voters: sorted(d.voters),
    votersOutgoing: sorted(d.outgoing),
    learners: sorted(d.learners),
    learnersNext: sorted(d.learnersNext),
    autoLeave,
  }
  checkConf(conf)
  return conf
}

function invalid(why: string): never {
  throw new RaftError('conf_invalid', why)
}

/** Refuses configurations that could elect two leaders or none. */
export function checkConf(c: ConfState): void {
  for (const id of c.learners)
    if (c.voters.includes(id) || c.votersOutgoing.includes(id)) invalid(`member ${id} is learner and voter`)
  for (const id of c.learnersNext)
    if (!c.votersOutgoing.includes(id))
      invalid(`member ${id} is to become a learner but is no outgoing voter`)
  if (!isJoint(c) && (c.learnersNext.length > 0 || c.autoLeave))
    invalid('joint fields in a simple configuration')
}

/** Whether two halves must agree (thesis 4.3). */
export function isJoint(c: ConfState): boolean {
  return c.votersOutgoing.length > 0
}

/** Everybody the leader replicates to (and itself), sorted. */
export function members(c: ConfState): NodeId[] {
  return sorted(new Set([...c.voters, ...c.votersOutgoing, ...c.learners]))
}

/** Whether the member’s vote counts, in either half. */
export function isVoter(c: ConfState, id: NodeId): boolean {
  return c.voters.includes(id) || c.votersOutgoing.includes(id)
}

/** Whether two configurations are the same. */
export function confEqual(a: ConfState, b: ConfState): boolean {
  const same = (x: readonly NodeId[], y: readonly NodeId[]) =>
    x.length === y.length && x.every((id, i) => id === y[i])
  return (
    same(a.voters, b.voters) &&
    same(a.votersOutgoing, b.votersOutgoing) &&
    same(a.learners, b.learners) &&
    same(a.learnersNext, b.learnersNext) &&
    a.autoLeave === b.autoLeave
  )
}

function applyItem(d: Draft, { type, id }: ConfChangeItem): void {
  if (!Number.isSafeInteger(id) || id <= 0) invalid(`member id ${id} is not a positive integer`)
  switch (type) {
    case 'voter':
      d.learners.delete(id)
      d.learnersNext.delete(id)
      d.voters.add(id)
      break
    case 'learner':
      d.voters.delete(id)
      // A voter of the outgoing half still counts there, so it may not be a learner before the joint state is left.
      if (d.outgoing.has(id)) d.learnersNext.add(id)
      else d.learners.add(id)
      break
    case 'remove':
      d.voters.delete(id)
      d.learners.delete(id)
      d.learnersNext.delete(id)
      break
  }
}

function applyItems(d: Draft, items: readonly ConfChangeItem[]): void {
  for (const item of items) applyItem(d, item)
  if (d.voters.size === 0) invalid('the change would leave no voters')
}

/** A change of at most one voter, which keeps old and new majorities overlapping without a joint state (thesis 4.1). */
export function simple(c: ConfState, items: readonly ConfChangeItem[]): ConfState {
  if (isJoint(c)) invalid('a simple change is not possible in a joint configuration')
  const d = draftOf(c)
  applyItems(d, items)
  const removed = c.voters.filter((id) => !d.voters.has(id)).length
  const added = d.voters.size - (c.voters.length - removed)
  if (removed + added > 1) invalid('more than one voter changed without a joint configuration')
  return finish(d, false)
}

export function enterJoint(c: ConfState, items: readonly ConfChangeItem[], autoLeave: boolean): ConfState {
  if (isJoint(c)) invalid('the configuration is already joint')
  if (c.voters.length === 0) invalid('a configuration without voters cannot become joint')
  const d = draftOf(c)
  d.outgoing = new Set(c.voters)
  applyItems(d, items)
  return finish(d, autoLeave)
}

export function leaveJoint(c: ConfState): ConfState {
  if (!isJoint(c)) invalid('the configuration is not joint')
  const d = draftOf(c)
  for (const id of d.learnersNext) d.learners.add(id)
  d.learnersNext.clear()
  d.outgoing.clear()
  return finish(d, false)
}

/** The one meaning of a ConfChange; every member computes it when the entry is applied. */
export function applyConfChange(c: ConfState, change: ConfChange): ConfState {
  if (change.changes.length === 0) return leaveJoint(c)
  if (change.changes.length === 1) return simple(c, change.changes)
  return enterJoint(c, change.changes, true)
}
