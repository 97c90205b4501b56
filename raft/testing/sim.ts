import { decodeConfChange } from '../codec.ts'
import { members, applyConfChange } from '../confchange.ts'
import { describeMessage } from '../describe.ts'
import { MemoryStore } from '../memory-store.ts'
import { RaftNode, type Ready } from '../node.ts'
import {
  EMPTY_CONF,
  RaftError,
  assertInvariant,
  defaultRaftConfig,
  type ConfChange,
  type Entry,
  type HardState,
  type Index,
  type Message,
  type NodeId,
} from '../types.ts'
import { EventHeap } from './heap.ts'
import { Invariants } from './invariants.ts'
import { Rng } from './rng.ts'

/** Chances per message, mean delays in milliseconds, mean times between faults (0: never). */
export interface Weather {
  readonly loss: number
  readonly duplicate: number
  readonly slow: number
  readonly delay: number
  readonly sync: number
  readonly crashEvery: number
  readonly partitionEvery: number
  readonly changeEvery: number
  readonly pauseEvery: number
  readonly proposeEvery: number
}

export const calm: Weather = {
  loss: 0,
  duplicate: 0,
  slow: 0,
  delay: 3,
  sync: 2,
  crashEvery: 0,
  partitionEvery: 0,
  changeEvery: 0,
  pauseEvery: 0,
  proposeEvery: 20,
}
export const storm: Weather = {
  loss: 0.05,
  duplicate: 0.05,
  slow: 0.03,
  delay: 5,
  sync: 8,
  crashEvery: 400,
  partitionEvery: 500,
  changeEvery: 300,
  pauseEvery: 400,
  proposeEvery: 8,
}

const TICK = 10

/** One simulated machine: core, disk that forgets what was not synced, and a state machine that is a list of strings. */
class Machine {
  readonly id: NodeId
  store: MemoryStore
  node: RaftNode | undefined
  /** Applied commands by index; the durable copy lags. */
  list: string[] = []
  applied: Index = 0
  durable: { applied: Index; list: string[] } = { applied: 0, list: [] }
  writing: { ready: Ready; image: Uint8Array | undefined } | undefined
  received = new Map<Index, Uint8Array>()
  /** Distinguishes lives: events of an earlier one are void. */
  life = 0
  /** Until then it neither hears nor ticks, and does not know (SIGSTOP). */
  pausedUntil = 0
  readonly reads = new Map<string, Index>()

  constructor(id: NodeId, store: MemoryStore) {
    this.id = id
    this.store = store
  }
}

/** A cluster with simulated time, network, disks and faults, all of it from one seed, checked at every step. */
export class Sim {
  readonly heap = new EventHeap()
  readonly machines = new Map<NodeId, Machine>()
  readonly invariants: Invariants
  readonly stats = { messages: 0, elections: 0, applied: 0, crashes: 0, changes: 0, snapshots: 0, reads: 0 }
  readonly history: string[] = []
  readonly #rng: { net: Rng; disk: Rng; nemesis: Rng; work: Rng; core: Rng }
  #weather: Weather
  #cut = new Set<string>()
  #serial = 0
  #calm = false

  constructor(seed: number, o: { founders: number; joiners: number; weather: Weather }) {
    const stream = (n: number) => new Rng(seed, n)
    this.#rng = { net: stream(1), disk: stream(2), nemesis: stream(3), work: stream(4), core: stream(5) }
    this.#weather = o.weather
    const founders = Array.from({ length: o.founders }, (_, i) => i + 1)
    const conf = { ...EMPTY_CONF, voters: founders }
    for (let id = 1; id <= o.founders + o.joiners; id++)
      this.machines.set(id, new Machine(id, new MemoryStore(id <= o.founders ? conf : EMPTY_CONF)))
    this.invariants = new Invariants(() => this.machines.values())
    for (const m of this.machines.values()) this.#start(m)
    this.#every('proposeEvery', () => this.#propose())
    this.#every('crashEvery', () => this.#crashOne())
    this.#every('partitionEvery', () => this.#partition())
    this.#every('changeEvery', () => this.#change())
    this.#every('proposeEvery', () => this.#read())
    this.#every('changeEvery', () => this.#disturb())
    this.#every('pauseEvery', () => this.#pause())
  }

  run(ms: number): void {
    this.heap.runUntil(this.heap.now + ms)
  }

  /** No faults any more: whatever happened before, the cluster must come together and work. */
  recover(): void {
    this.#calm = true
    this.#weather = { ...calm, proposeEvery: 0 }
    this.#cut.clear()
    for (const m of this.machines.values()) m.pausedUntil = 0
    for (const m of this.machines.values()) if (!m.node) this.#start(m)
    const end = this.heap.now + 20_000
    const proposal = () => {
      for (const m of this.machines.values()) if (m.node?.role === 'leader') m.node.propose(this.#command())
      this.#pumpAll()
      this.heap.schedule(100, proposal)
    }
    proposal()
    const target = this.invariants.committed + 3
    this.heap.runUntil(end, () => this.#together(target))
    assertInvariant(this.#together(target), () => `the cluster did not come together: ${this.describe()}`)
    const lists = this.#inConf().map((m) => m.list.slice(0, target - 1).join())
    assertInvariant(new Set(lists).size === 1, 'the state machines differ')
  }

  describe(): string {
    return [...this.machines.values()]
      .map((m) => `${m.id}:${m.node?.role ?? 'down'} t${m.node?.term} c${m.node?.commitIndex} a${m.applied}`)
      .join(' ')
  }

  /** Members of the configuration of the leader of the highest term. */
  #inConf(): Machine[] {
    const leaders = [...this.machines.values()].filter((m) => m.node?.role === 'leader')
    const leader = leaders.sort((a, b) => (b.node?.term ?? 0) - (a.node?.term ?? 0))[0]
    if (!leader?.node) return []
    return members(leader.node.conf).map((id) => this.machines.get(id) as Machine)
  }

  #together(target: Index): boolean {
    const all = this.#inConf()
    return (
      all.length > 0 &&
      all.every((m) => m.node && m.applied >= target && m.node.conf.votersOutgoing.length === 0)
    )
  }

  // ---- machines

  #start(m: Machine): void {
    m.life++
    m.list = [...m.durable.list]
    m.applied = m.durable.applied
    const { index, hard } = m.store.initial()
    if (m.applied < index) this.#restore(m, index, m.store.image)
    const trace = (e: Parameters<ConstructorParameters<typeof RaftNode>[3] & {}>[0]) => {
      if (e.event === 'role' && e.role === 'leader') this.stats.elections++
      if (m.node) this.invariants.onTrace(e, m.node.conf, m.node.role === 'leader')
    }
    this.invariants.restarted(m.id, hard.term, m.applied)
    const config = {
      ...defaultRaftConfig,
      id: m.id,
      applied: m.applied,
      maxMessageBytes: 200,
      maxInflightMessages: 4,
    }
    m.node = new RaftNode(config, m.store, () => this.#rng.core.float(), trace)
    this.#tickLater(m, m.life)
  }

  #restore(m: Machine, index: Index, image: Uint8Array): void {
    m.list = image.length > 0 ? (JSON.parse(Buffer.from(image).toString()) as string[]) : []
    m.applied = index
    m.durable = { applied: index, list: [...m.list] }
  }

  #tickLater(m: Machine, life: number): void {
    this.heap.schedule(TICK * (0.9 + this.#rng.core.float() * 0.2), () => {
      if (m.life !== life || !m.node) return
      if (m.pausedUntil <= this.heap.now) m.node.tick()
      this.#pump(m)
      this.#tickLater(m, life)
    })
  }

  #pumpAll(): void {
    for (const m of this.machines.values()) this.#pump(m)
  }

  #pump(m: Machine): void {
    const { node } = m
    if (!node || m.pausedUntil > this.heap.now) return
    while (node.hasReady(!m.writing)) {
      const ready = node.ready(!m.writing)
      for (const msg of ready.messages) this.#transmit(m, msg)
      if (ready.persist) this.#persist(m, ready)
      this.#apply(m, ready.committed)
      for (const { id, index } of ready.reads) this.#readDone(m, id, index)
    }
    if (node.takeSnapshotWanted()) this.#snapshot(m)
  }

  #persist(m: Machine, ready: Ready): void {
    m.writing = { ready, image: ready.snapshot && m.received.get(ready.snapshot.index) }
    const needsDisk = ready.mustSync || ready.snapshot !== undefined
    const delay = needsDisk ? this.#rng.disk.float() * 2 * this.#weather.sync : 0
    const { life } = m
    const done = () => {
      if (m.life !== life || !m.node) return
      this.#write(m)
      m.writing = undefined
      m.node.persisted(ready)
      for (const msg of ready.afterSync) this.#transmit(m, msg)
      this.#pump(m)
    }
    if (needsDisk) this.heap.schedule(delay, done)
    else done()
  }

  #write(m: Machine): void {
    if (!m.writing) return
    const { ready, image } = m.writing
    const hard: HardState | undefined = ready.hard
    if (ready.snapshot) {
      assertInvariant(image !== undefined, 'a snapshot to install has not been received')
      m.store.installNow(ready.snapshot, image, hard && { ...hard, commit: ready.snapshot.index })
      this.#restore(m, ready.snapshot.index, image)
    }
    m.store.appendNow(ready.entries, hard, ready.mustSync)
    this.invariants.onStored(m.id, ready.entries, m.store)
    if (hard && ready.mustSync) this.invariants.onPersisted(m.id, hard.term)
  }

  #apply(m: Machine, entries: readonly Entry[]): void {
    const last = entries.at(-1)
    if (!last || !m.node) return
    this.invariants.onApplied(m.id, entries)
    for (const e of entries) {
      assertInvariant(e.index === m.applied + 1, () => `${m.id} skips from ${m.applied} to ${e.index}`)
      m.applied = e.index
      m.list.push(e.kind === 'normal' ? Buffer.from(e.data).toString() : 'conf')
      if (e.kind === 'config') m.node.applyConf(decodeConfChange(e.data))
    }
    this.stats.applied += entries.length
    m.node.applied(last.index)
    if (this.#rng.disk.chance(0.1)) m.durable = { applied: m.applied, list: [...m.list] }
    if (this.#rng.disk.chance(0.03)) this.#snapshot(m)
  }

  #snapshot(m: Machine): void {
    const term = m.store.term(m.applied)
    if (!m.node || m.node.hasPendingSnapshot || term === undefined) return
    m.durable = { applied: m.applied, list: [...m.list] }
    m.store.createNow({ index: m.applied, term, conf: m.node.conf }, Buffer.from(JSON.stringify(m.list)))
    const at = m.store.snapshot()?.index ?? 0
    m.store.compactNow(Math.max(at - this.#rng.disk.int(20), m.store.firstIndex() - 1))
    this.stats.snapshots++
  }

  // ---- network

  #transmit(m: Machine, msg: Message): void {
    this.invariants.onSend(msg)
    if (msg.to === m.id) return
    this.stats.messages++
    const { loss, duplicate } = this.#weather
    const image =
      msg.type === 'snapshot' && m.store.snapshot()?.index === msg.meta.index ? m.store.image : undefined
    if (this.#rng.net.chance(loss)) {
      if (msg.type === 'snapshot') this.#report(m, msg.to, false)
      return
    }
    this.#deliverLater(m, msg, image)
    if (this.#rng.net.chance(duplicate)) this.#deliverLater(m, msg, image)
  }

  #deliverLater(from: Machine, msg: Message, image: Uint8Array | undefined): void {
    const { delay, slow } = this.#weather
    const wait =
      this.#rng.net.float() * 2 * delay + (this.#rng.net.chance(slow) ? this.#rng.net.float() * 400 : 0)
    const snapshotTime = msg.type === 'snapshot' ? this.#rng.net.float() * 60 : 0
    this.heap.schedule(wait + snapshotTime, () => {
      const to = this.machines.get(msg.to)
      if (to && to.pausedUntil > this.heap.now) {
        // It waits in the socket.
        this.heap.schedule(to.pausedUntil - this.heap.now, () => this.#deliverNow(from, msg, image))
      } else this.#deliverNow(from, msg, image)
    })
  }

  #deliverNow(from: Machine, msg: Message, image: Uint8Array | undefined): void {
    const to = this.machines.get(msg.to)
    const arrives = to?.node && !this.#cut.has(`${msg.from}>${msg.to}`)
    if (msg.type === 'snapshot') {
      this.#report(from, msg.to, Boolean(arrives && image))
      if (!arrives || !image || to.node?.hasPendingSnapshot) return
      to.received.set(msg.meta.index, image)
    }
    if (!arrives) return
    this.#log(() => `${this.heap.now.toFixed(1)} ${describeMessage(msg)}`)
    to.node?.step(msg)
    this.#pump(to)
  }

  #log(line: () => string): void {
    this.history.push(line())
    if (this.history.length > 400) this.history.splice(0, 200)
  }

  #report(m: Machine, to: NodeId, ok: boolean): void {
    const { life } = m
    this.heap.schedule(5, () => {
      if (m.life !== life || !m.node) return
      m.node.reportSnapshot(to, ok)
      this.#pump(m)
    })
  }

  // ---- work and faults

  #every(what: keyof Weather, f: () => void): void {
    const mean = this.#weather[what]
    this.heap.schedule(mean > 0 ? this.#rng.nemesis.float() * 2 * mean : 100, () => {
      if (mean > 0 && !this.#calm) {
        f()
        this.#pumpAll()
      }
      if (!this.#calm) this.#every(what, f)
    })
  }

  #command(): Uint8Array {
    return Buffer.from(`c${this.#serial++}`)
  }

  #running(): Machine[] {
    return [...this.machines.values()].filter((m) => m.node)
  }

  #propose(): void {
    for (const m of this.#running()) {
      if (m.node?.role !== 'leader' || m.pausedUntil > this.heap.now) continue
      for (let n = this.#rng.work.int(4); n >= 0; n--) m.node.propose(this.#command())
    }
  }

  /** A read must see everything that was committed anywhere when it was asked for. */
  #read(m = this.#rng.work.pick(this.#running())): void {
    const id = `r${this.#serial++}`
    if (m.node?.readIndex(id)) m.reads.set(id, this.invariants.committed)
  }

  #readDone(m: Machine, id: string, index: Index): void {
    const least = m.reads.get(id)
    if (least === undefined) return
    m.reads.delete(id)
    this.stats.reads++
    assertInvariant(
      index >= least,
      () => `stale read on ${m.id}: ${index}, but ${least} was committed before it began`,
    )
  }

  #crashOne(): void {
    const { nemesis } = this.#rng
    const running = this.#running()
    if (running.length <= 1) return
    const m = nemesis.pick(running)
    // The write under way may or may not have reached the disk; nobody was told.
    if (nemesis.chance(0.5)) this.#write(m)
    m.writing = undefined
    m.node = undefined
    m.pausedUntil = 0
    m.life++
    m.store = m.store.crashed()
    m.reads.clear()
    this.stats.crashes++
    this.heap.schedule(nemesis.float() * 600, () => {
      if (!m.node) this.#start(m)
    })
  }

  /** What a member does first when it goes on is answer a read, and what it knows is old. */
  #pause(): void {
    const { nemesis } = this.#rng
    const leader = this.#running().find((r) => r.node?.role === 'leader')
    const m = leader && nemesis.chance(0.7) ? leader : nemesis.pick(this.#running())
    const ms = nemesis.float() * 800
    m.pausedUntil = this.heap.now + ms
    this.heap.schedule(ms, () => {
      if (m.node && m.pausedUntil <= this.heap.now) this.#read(m)
      this.#pump(m)
    })
  }

  /** Links are cut one by one, so partial and one-way partitions are among the results. */
  #partition(): void {
    const { nemesis } = this.#rng
    this.#cut.clear()
    if (nemesis.chance(0.3)) return
    const p = nemesis.float() * 0.7
    for (const a of this.machines.keys())
      for (const b of this.machines.keys()) if (nemesis.chance(p)) this.#cut.add(`${a}>${b}`)
  }

  #change(): void {
    const { nemesis } = this.#rng
    const ids = [...this.machines.keys()]
    const one = () => ({
      type: nemesis.pick(['voter', 'voter', 'learner', 'remove'] as const),
      id: nemesis.pick(ids),
    })
    const change: ConfChange = { changes: nemesis.chance(0.4) ? [one(), one()] : [one()] }
    for (const m of this.#running()) {
      if (m.node?.role !== 'leader') continue
      try {
        // Never so few voters that the end of the run depends on a member that never heard of the cluster.
        if (applyConfChange(m.node.conf, change).voters.length < 2) continue
        m.node.proposeConf(change)
        this.stats.changes++
      } catch (e) {
        if (!(e instanceof RaftError)) throw e
      }
    }
  }

  #disturb(): void {
    const { nemesis } = this.#rng
    const m = nemesis.pick(this.#running())
    const other = nemesis.pick([...this.machines.keys()])
    if (nemesis.chance(0.5)) m.node?.transferTo(other)
    else if (nemesis.chance(0.5)) m.node?.campaign()
    else m.node?.reportUnreachable(other)
  }
}
