import type { Rng } from '../../raft/testing/rng.ts'
import type { ChaosAgent } from './agent.ts'
import { injectSyncError } from './disk-error.ts'
import type { Fleet } from './fleet.ts'
import { cut, reconnect } from './network.ts'

/** A fault under way: what was done to whom, and how it is undone. */
export interface Fault {
  readonly what: string
  undo(): Promise<void> | void
}
type Begin = (fleet: Fleet, rng: Rng) => Promise<Fault>

const names = (agents: readonly ChaosAgent[]) => agents.map(({ name }) => name).join(', ')

function shuffled<T>(list: readonly T[], rng: Rng): T[] {
  const rest = [...list]
  return list.map(() => rest.splice(rng.int(rest.length), 1)[0] as T)
}

/** Nothing passes between the two groups, in either direction. */
async function split(fleet: Fleet, one: readonly ChaosAgent[], what: string): Promise<Fault> {
  const others = fleet.agents.filter((agent) => !one.includes(agent))
  for (const a of one) for (const b of others) await Promise.all([cut(a, b), cut(b, a)])
  return { what, undo: () => reconnect(fleet.agents) }
}

async function oneWay(fleet: Fleet, direction: 'from' | 'to'): Promise<Fault> {
  const leader = await fleet.leader()
  for (const other of fleet.agents)
    if (other !== leader) await (direction === 'from' ? cut(leader, other) : cut(other, leader))
  const what = direction === 'from' ? `${leader.name}, which leads, is not heard` : `${leader.name}, which leads, hears nobody` // prettier-ignore
  return { what, undo: () => reconnect(fleet.agents) }
}

async function kill(victims: readonly ChaosAgent[], what: string): Promise<Fault> {
  await Promise.all(victims.map((agent) => agent.kill()))
  return { what, undo: () => victims.forEach((agent) => agent.revive()) }
}

function pause(victim: ChaosAgent, what: string): Fault {
  victim.pause()
  return { what, undo: () => victim.resume() }
}

/** Whoever answers after that has started again by itself: the agent ends at its first failed write, or not at all. */
async function fillDisk(victim: ChaosAgent, what: string): Promise<Fault> {
  victim.excuse('disk full')
  victim.fillDisk()
  return {
    what,
    undo: () => {
      victim.freeDisk()
      victim.takeBack('disk full')
    },
  }
}

const day = 24 * 3600

async function jump(victim: ChaosAgent, rng: Rng): Promise<Fault> {
  const seconds = (rng.chance(0.5) ? 1 : -1) * (rng.chance(0.3) ? 2 * day : 30 + rng.int(3000))
  await victim.setClock(seconds)
  return { what: `${victim.name}'s clock jumps by ${seconds} s`, undo: () => victim.setClock(0) }
}

/** Every kind of fault. Whom it meets is drawn from the seed, or is whoever leads then. */
export const faults: Readonly<Record<string, Begin>> = {
  'partition of the leader': async (fleet) => {
    const leader = await fleet.leader()
    return split(fleet, [leader], `${leader.name}, which leads, is alone`)
  },
  'partition of one': async (fleet, rng) => {
    const one = rng.pick(fleet.agents)
    return split(fleet, [one], `${one.name} is alone`)
  },
  'partition of a minority': async (fleet, rng) => {
    const few = shuffled(fleet.agents, rng).slice(0, (fleet.agents.length - 1) >> 1)
    return split(fleet, few, `${names(few)} against the others`)
  },
  'one link cut': async (fleet, rng) => {
    const [a, b] = shuffled(fleet.agents, rng) as [ChaosAgent, ChaosAgent]
    await Promise.all([cut(a, b), cut(b, a)])
    return { what: `between ${a.name} and ${b.name}`, undo: () => reconnect(fleet.agents) }
  },
  'leader not heard': (fleet) => oneWay(fleet, 'from'),
  'leader hears nobody': (fleet) => oneWay(fleet, 'to'),
  'kill -9 of one': async (fleet, rng) => {
    const one = rng.pick(fleet.agents)
    return kill([one], one.name)
  },
  'kill -9 of the leader': async (fleet) => {
    const leader = await fleet.leader()
    return kill([leader], leader.name)
  },
  'kill -9 of all': (fleet) => kill(fleet.agents, 'all at once'),
  'pause of one': async (fleet, rng) => {
    const one = rng.pick(fleet.agents)
    return pause(one, one.name)
  },
  'pause of the leader': async (fleet) => {
    const leader = await fleet.leader()
    return pause(leader, leader.name)
  },
  'clock jump': (fleet, rng) => jump(rng.pick(fleet.agents), rng),
  'clock jump of the leader': async (fleet, rng) => jump(await fleet.leader(), rng),
  'disk full': async (fleet, rng) => {
    const one = rng.pick(fleet.agents)
    return fillDisk(one, one.name)
  },
  'disk full of the leader': async (fleet) => {
    const leader = await fleet.leader()
    return fillDisk(leader, leader.name)
  },
  'EIO on fdatasync': async (fleet, rng) => injectSyncError(rng.pick(fleet.agents), 1 + rng.int(5)),
}
