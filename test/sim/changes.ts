import { isJoint } from '../../raft/confchange.ts'
import type { NodeId } from '../../raft/types.ts'
import type { Machine } from './machine.ts'
import type { Nemesis } from './nemesis.ts'

/** Fewer voters are never left. */
const LEAST = 3

interface Sides {
  /** A majority of what two removals leave, the leader among them. */
  readonly near: readonly NodeId[]
  /** Everybody else: a majority of today’s voters, if their number is odd. */
  readonly far: readonly NodeId[]
}

function sides(n: Nemesis, leader: Machine): Sides | undefined {
  const { conf } = leader
  if (!conf || isJoint(conf) || conf.voters.length < LEAST + 2 || !conf.voters.includes(leader.id))
    return undefined
  // Removing the healthy would leave a majority of damaged ones.
  if (conf.voters.some((id) => n.t.machines.get(id)?.doomed !== false)) return undefined
  const others = conf.voters.filter((id) => id !== leader.id)
  const near = [leader.id]
  for (let i = (conf.voters.length - 2) >> 1; i > 0; i--)
    near.push(...others.splice(n.rng.int(others.length), 1))
  return { near, far: others }
}

/** The far side hears nothing more, although it is still heard. */
function silence(n: Nemesis, { near, far }: Sides): void {
  const { network } = n.t
  n.later(n.rng.between(0, 40), () => {
    for (const a of near) for (const b of far) network.cut(a, b)
  })
  n.later(n.rng.between(3000, 8000), () => network.heal())
}

/**
 * Two removals at the same moment, and silence before all have heard of them. Were both under way at a time, the near
 * side would go on by the third configuration and the far side by the first.
 */
export function twoChanges(n: Nemesis): boolean {
  const { operator } = n.t
  const leader = operator.leader()
  const split = leader && sides(n, leader)
  if (!split || !operator.idle) return false
  operator.ask(
    leader,
    split.far.slice(0, 2).map((id) => [{ type: 'remove', id }]),
  )
  silence(n, split)
  return true
}

/** A leader dies in the middle of its own removal, and the next one is asked for another at once. */
export function changeAtElection(n: Nemesis): boolean {
  const { operator } = n.t
  const first = operator.leader()
  if (!first || !sides(n, first) || !operator.idle) return false
  operator.ask(first, [[{ type: 'remove', id: first.id }]])
  n.later(n.rng.between(1, 30), () => {
    if (first.state === 'up') n.crash(first, false)
    atNextLeader(n, first, (leader) => {
      const split = sides(n, leader)
      const other = split?.far.find((id) => id !== first.id)
      if (!split?.far.includes(first.id) || other === undefined) return
      operator.ask(leader, [[{ type: 'remove', id: other }]])
      silence(n, split)
    })
  })
  return true
}

function atNextLeader(n: Nemesis, before: Machine, f: (leader: Machine) => void): void {
  const end = n.t.world.now + 5000
  const look = () => {
    const leader = n.t.operator.leader()
    if (leader && leader !== before) f(leader)
    else if (n.t.world.now < end && !n.over) n.later(1, look)
  }
  look()
}
