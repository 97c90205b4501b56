import type { NodeId } from '../../raft/types.ts'
import { encodeCommand } from '../../raft/sessions.ts'
import { MAX_SESSIONS } from '../../raft/sessions.ts'
import { changeAtElection, twoChanges } from './changes.ts'
import { calm, type Network } from './network.ts'
import type { Invariants } from './invariants.ts'
import type { Machine } from './machine.ts'
import type { Operator } from './operator.ts'
import type { World } from './world.ts'

export interface Target {
  readonly world: World
  readonly network: Network
  readonly machines: ReadonlyMap<NodeId, Machine>
  readonly operator: Operator
  readonly invariants: Invariants
}

type Fault = (n: Nemesis) => boolean

/** What goes wrong in a run, from the seed: which kinds, how often, and when. */
export class Nemesis {
  readonly t: Target
  /** Faults begin no more. */
  over = false

  constructor(t: Target) {
    this.t = t
  }

  get rng() {
    return this.t.world.rng.nemesis
  }

  /** Not every kind in every run: some bugs need many of one kind, undisturbed. */
  start(): void {
    const kinds = Object.entries(faults)
    const chosen = kinds.filter(() => this.rng.chance(0.45))
    while (chosen.length < 4) chosen.push(this.rng.pick(kinds))
    for (const [name, fault] of chosen) this.#repeat(name, fault, this.rng.between(1500, 9000))
    // Rarely possible, so tried often.
    const [name, fault] = this.rng.pick(Object.entries(hasty))
    this.#repeat(name, fault, this.rng.between(500, 2000))
  }

  #repeat(name: string, fault: Fault, everyMs: number): void {
    this.t.world.clock.schedule(this.rng.float() * 2 * everyMs, () => {
      if (this.over) return
      this.#repeat(name, fault, everyMs)
      if (!fault(this)) return
      this.t.world.count(`fault ${name}`)
      this.t.world.trace(() => `fault ${name}`)
    })
  }

  later(ms: number, f: () => void): void {
    this.t.world.clock.schedule(ms, f)
  }

  get live(): Machine[] {
    return [...this.t.machines.values()].filter((m) => m.state !== 'retired' && m.state !== 'broken')
  }
  /** Often the leader: most goes wrong there. */
  victim(): Machine | undefined {
    const up = this.live.filter((m) => m.state === 'up')
    const leader = this.t.operator.leader()
    if (leader && this.rng.chance(0.4)) return leader
    return up.length > 0 ? this.rng.pick(up) : undefined
  }

  crash(m: Machine, powerCut: boolean): void {
    m.crash(powerCut)
    this.restartLater(m)
  }

  restartLater(m: Machine): void {
    this.later(this.rng.chance(0.7) ? this.rng.float() * 1500 : this.rng.float() * 8000, () => m.start())
  }

  /** Faults end, and everything that still can runs again. */
  end(): void {
    this.over = true
    const { network, machines } = this.t
    network.weather = calm
    network.streamBreaks = 0
    network.heal()
    for (const m of machines.values()) {
      m.disk.stalledUntil = m.disk.slowReadsUntil = 0
      m.disk.failNext = undefined
      m.disk.killIn(Infinity, () => {})
      m.life?.goOn()
      m.start()
    }
  }
}

function someWeather(n: Nemesis) {
  const { rng } = n
  const some = (chance: number, most: number) => (rng.chance(chance) ? rng.float() * most : 0)
  return {
    loss: some(0.6, 0.2),
    duplicate: n.rng.chance(0.2) ? 0.8 : some(0.4, 0.2),
    slow: some(0.5, 0.1),
    slowMs: rng.pick([20, 200, 2000]),
    delayMs: rng.pick([1, 5, 20, 60]),
  }
}

/** Links are cut one by one or by groups, in one direction or both. */
function cutSome(n: Nemesis, how: (from: NodeId, to: NodeId) => void): void {
  const ids = n.live.map((m) => m.id)
  const leader = n.t.operator.leader()?.id
  const alone = leader !== undefined && n.rng.chance(0.5) ? leader : n.rng.pick(ids)
  const side = new Map(ids.map((id) => [id, n.rng.chance(0.5)]))
  const apart = n.rng.pick([
    (a: NodeId, b: NodeId) => a === alone || b === alone,
    (a: NodeId) => a === alone,
    (_: NodeId, b: NodeId) => b === alone,
    (a: NodeId, b: NodeId) => side.get(a) !== side.get(b),
    () => n.rng.chance(0.3),
    // Partial: everybody reaches one, who reaches everybody; nobody else reaches anybody.
    (a: NodeId, b: NodeId) => a !== alone && b !== alone,
  ])
  for (const a of ids) for (const b of ids) if (a !== b && apart(a, b)) how(a, b)
}

/** At most a minority may lose its data at a time, and nothing about the members may be open. */
function mayBeDamaged(n: Nemesis): Machine | undefined {
  const { operator, machines } = n.t
  const leader = operator.leader()
  const status = leader?.driver?.status()
  if (!operator.idle || !status || status.conf.votersOutgoing.length > 0) return undefined
  // Those who do not know yet that a damaged member was removed might need its vote (a removed one has to stay a while).
  const settled = n.live.every((m) => m.doomed || m.driver?.status().applied === n.t.invariants.committed)
  if (!settled || status.lastIndex !== n.t.invariants.committed) return undefined
  if (!n.t.invariants.knowMembers(n.live.filter((m) => !m.doomed).map((m) => m.id))) return undefined
  const { voters } = status.conf
  const gone = voters.filter((id) => machines.get(id)?.doomed)
  if (gone.length + 1 > Math.floor((voters.length - 1) / 2)) return undefined
  const candidates = voters.filter((id) => !gone.includes(id) && machines.get(id)?.state === 'up')
  return candidates.length > 0 ? machines.get(n.rng.pick(candidates)) : undefined
}

function damage(n: Nemesis, what: string, destroy: (m: Machine) => boolean, certain = true): boolean {
  const m = mayBeDamaged(n)
  if (!m) return false
  m.crash(true)
  if (destroy(m)) {
    if (certain) m.disk.damage = what
    else m.disk.rot = true
  }
  n.restartLater(m)
  return true
}

/** Changes of members at the worst moment. */
const hasty: Record<string, Fault> = {
  'two changes, then silence': twoChanges,
  'a change at an election': changeAtElection,
}

const faults: Record<string, Fault> = {
  'bad weather': (n) => {
    n.t.network.weather = someWeather(n)
    n.t.network.streamBreaks = n.rng.chance(0.5) ? 0.1 : 0
    n.later(n.rng.between(1000, 8000), () => (n.t.network.weather = calm))
    return true
  },
  partition: (n) => {
    cutSome(n, (a, b) => n.t.network.cut(a, b))
    n.later(n.rng.between(300, 6000), () => n.t.network.heal())
    return true
  },
  'messages held': (n) => {
    cutSome(n, (a, b) => n.t.network.hold(a, b))
    n.later(n.rng.between(100, 4000), () => n.t.network.release())
    return true
  },
  'connections reset': (n) => {
    cutSome(n, (a, b) => n.t.network.reset(a, b))
    return true
  },
  'process killed': (n) => {
    const m = n.victim()
    if (m) n.crash(m, false)
    return m !== undefined
  },
  'power cut': (n) => {
    const m = n.victim()
    if (m) n.crash(m, true)
    return m !== undefined
  },
  'power cut everywhere': (n) => {
    for (const m of n.live) n.crash(m, true)
    return true
  },
  'killed in a disk call': (n) => {
    const m = n.victim()
    m?.disk.killIn(1 + n.rng.int(12), () => n.crash(m, n.rng.chance(0.6)))
    return m !== undefined
  },
  pause: (n) => {
    const m = n.victim()
    m?.life?.pause(n.rng.chance(0.5) ? n.rng.float() * 500 : n.rng.float() * 5000)
    return m !== undefined
  },
  'clock jump': (n) => {
    n.victim()?.life?.jump(n.rng.pick([500, 5000, 3_600_000]))
    return true
  },
  'restart in order': (n) => {
    const m = n.victim()
    const { life, driver } = m ?? {}
    if (!m || !life || !driver) return false
    life.enter(() => {
      const end = () => {
        if (m.life === life) n.crash(m, false)
      }
      driver.close().then(end, end)
    })
    return true
  },
  'disk stalled': (n) => {
    const m = n.victim()
    if (m) m.disk.stalledUntil = n.t.world.now + n.rng.between(100, 3000)
    return m !== undefined
  },
  'reads slow': (n) => {
    const m = n.victim()
    if (m) m.disk.slowReadsUntil = n.t.world.now + n.rng.between(1000, 8000)
    return m !== undefined
  },
  'disk full': (n) => {
    const m = n.victim()
    if (m) m.disk.failNext = 'ENOSPC'
    return m !== undefined
  },
  'sync failed': (n) => {
    const m = n.victim()
    if (m) m.disk.failNext = 'EIO'
    return m !== undefined
  },
  'state lost': (n) => {
    const m = n.victim()
    m?.crash(true)
    m?.disk.databases.delete('state')
    if (m) n.restartLater(m)
    return m !== undefined
  },
  'record bit flip': (n) => damage(n, 'a flipped bit in a record', (m) => m.disk.flipRecord('log')),
  'snapshot bit flip': (n) => damage(n, '', (m) => m.disk.flipFile('snapshots/'), false),
  'CURRENT lost': (n) => damage(n, 'no CURRENT', (m) => m.disk.loseCurrent('log')),
  'identity lost': (n) => damage(n, 'no identity', (m) => m.disk.files.delete('identity.json')),
  'identity bit flip': (n) =>
    damage(n, 'a flipped bit in the identity', (m) => m.disk.flipFile('identity.json')),
  'clients flood': (n) => {
    const leader = n.t.operator.leader()
    if (!leader || !n.rng.chance(0.15)) return false
    // More than are remembered: sessions of others expire.
    registerMany(n, leader, MAX_SESSIONS + 10)
    return true
  },
  'leader with a tail': tailOfTheDeposed,
}

/**
 * A leader is heard by nobody and goes on taking commands. When the next one has led for a while and dies, the longest
 * log is that of the deposed.
 */
function tailOfTheDeposed(n: Nemesis): boolean {
  const { network, operator } = n.t
  const leader = operator.leader()
  if (!leader) return false
  for (const { id } of n.live) if (id !== leader.id) network.cut(leader.id, id)
  registerMany(n, leader, 5 + n.rng.int(60))
  n.later(n.rng.between(1500, 5000), () => {
    network.heal()
    const next = operator.leader()
    if (next && next !== leader && n.rng.chance(0.7) && !n.over) n.crash(next, false)
  })
  return true
}

function registerMany(n: Nemesis, leader: Machine, count: number): void {
  const commands = Array.from({ length: count }, (_, i) =>
    encodeCommand({ kind: 'register', nonce: `flood-${n.t.world.now}-${i}` }),
  )
  const { life } = leader
  const origin = Math.round(n.t.world.now)
  for (let i = 0; i < commands.length; i += 100)
    n.later(i / 2, () =>
      life?.enter(() =>
        n.t.network.port(leader.id)?.message({
          type: 'propose',
          from: leader.id + 1000,
          to: leader.id,
          term: leader.driver?.status().term ?? 0,
          origin,
          number: i + 1,
          commands: commands.slice(i, i + 100),
        }),
      ),
    )
}
