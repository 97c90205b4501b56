import { createHash } from 'node:crypto'
import { members } from '../../raft/confchange.ts'
import type { DriverOptions } from '../../raft/driver-api.ts'
import { EMPTY_CONF, type NodeId } from '../../raft/types.ts'
import { checkLinearizable } from '../history/check.ts'
import { keyValueModel } from '../history/key-value.ts'
import { Clients } from './clients.ts'
import { Invariants } from './invariants.ts'
import { Machine, type Surroundings } from './machine.ts'
import { Nemesis } from './nemesis.ts'
import { Network } from './network.ts'
import { Operator } from './operator.ts'
import { World } from './world.ts'

export interface RunOptions {
  /** Nothing fails, and nobody changes the members. */
  readonly calm?: boolean
  /** Every event, one line each. */
  readonly trace?: (line: string) => void
  /** The trace's SHA-256 is wanted. */
  readonly hash?: boolean
}

export interface RunResult {
  readonly seed: number
  /** What went wrong first; undefined: nothing. */
  readonly violation: string | undefined
  readonly simulatedMs: number
  readonly operations: number
  readonly faults: number
  readonly counts: Readonly<Record<string, number>>
  readonly traceHash: string | undefined
}

const FAULTS_MS = 50_000
const LIVENESS_MS = 40_000
const LEAST_MS = 60_000
const LEAST_OPERATIONS = 100

/** One simulated cluster, everything about it from the seed: a time of faults, then a time in which it must recover. */
export async function runSeed(seed: number, options: RunOptions = {}): Promise<RunResult> {
  const hash = options.hash ? createHash('sha256') : undefined
  const tracing = hash ?? options.trace
  const trace = (line: string) => {
    hash?.update(`${line}\n`)
    options.trace?.(line)
  }
  const world = new World(seed, tracing && trace)
  const cluster = new Cluster(world)
  try {
    await cluster.run(options.calm ?? false)
  } catch (e) {
    world.fail(e instanceof Error ? (e.stack ?? e.message) : String(e))
  }
  const counts = Object.fromEntries(world.counts)
  return {
    seed,
    violation: world.violation,
    simulatedMs: world.now,
    operations: cluster.clients.operations,
    faults: Object.entries(counts).reduce((n, [what, c]) => (what.startsWith('fault ') ? n + c : n), 0),
    counts,
    traceHash: hash?.digest('hex'),
  }
}

class Cluster {
  readonly #world: World
  readonly #machines = new Map<NodeId, Machine>()
  readonly #surroundings: Surroundings
  readonly #operator: Operator
  readonly #nemesis: Nemesis
  readonly #invariants: Invariants
  readonly clients: Clients

  constructor(world: World) {
    this.#world = world
    const { setup } = world.rng
    const invariants = new Invariants(world, this.#machines, 1)
    const network = new Network(world, (_, m) => invariants.onSend(m))
    this.#invariants = invariants
    this.#surroundings = {
      world,
      network,
      invariants,
      options: someOptions(setup),
      onExit: (m) => this.#nemesis.restartLater(m),
    }
    const founders = Array.from({ length: setup.pick([3, 3, 4, 5, 5, 7]) }, (_, i) => i + 1)
    const conf = { ...EMPTY_CONF, voters: founders }
    for (const id of founders) this.#machines.set(id, new Machine(id, this.#surroundings, conf))
    const fleet = { machines: this.#machines, add: () => this.#add() }
    this.#operator = new Operator(world, fleet, founders)
    this.#nemesis = new Nemesis({
      world,
      network,
      machines: this.#machines,
      operator: this.#operator,
      invariants,
    })
    this.clients = new Clients(world, this.#machines, invariants)
  }

  #add(): Machine {
    const id = Math.max(...this.#machines.keys()) + 1
    const m = new Machine(id, this.#surroundings, EMPTY_CONF)
    this.#machines.set(id, m)
    return m
  }

  async run(calm: boolean): Promise<void> {
    const { setup } = this.#world.rng
    for (const m of this.#machines.values()) m.start()
    for (let n = setup.pick([3, 4, 5]); n > 0; n--) this.clients.start(setup.between(200, 700))
    this.clients.crowds = !calm
    const changesEvery = setup.pick([1500, 3000, 6000])
    if (!calm) this.#operator.start(changesEvery)
    if (!calm) this.#nemesis.start()
    await this.#until(FAULTS_MS, () => false)
    if (this.#world.violation !== undefined) return
    await this.#recover()
    this.#checkHistory()
  }

  #until(end: number, done: () => boolean): Promise<void> {
    return this.#world.clock.run(end, () => this.#world.violation !== undefined || done())
  }

  /** No faults any more: whatever happened before, the members come together, serve, and hold all that was acknowledged. */
  async #recover(): Promise<void> {
    const world = this.#world
    world.trace(() => 'faults end')
    this.#nemesis.end()
    this.#operator.tidying = true
    const end = world.now + LIVENESS_MS
    await this.#until(end, () => this.#together(0) && this.clients.operations >= LEAST_OPERATIONS)
    world.check(this.#together(0), () => `the members did not come together: ${this.#describe()}`)
    this.clients.running = false
    await this.#served(end)
    const target = this.#invariants.committed
    await this.#until(end, () => this.#together(target))
    world.check(
      this.#together(target),
      () => `the members did not come together at ${target}: ${this.#describe()}`,
    )
    const digests = new Set(this.#inUse().map((id) => this.#machines.get(id)?.registers?.digest))
    world.check(digests.size === 1, () => `the states differ: ${[...digests].join(', ')}`)
    await this.#until(Math.max(LEAST_MS, world.now), () => false)
  }

  /**
   * A write through every member, and a read of everything. Again and again, like a client: a process may end yet of
   * what was done to its disk before, and a change of the members that was under way may take effect now.
   */
  async #served(end: number): Promise<void> {
    let done = false
    const all = async () => {
      for (const id of this.#inUse()) if (!(await this.clients.writeThrough(id))) return false
      return this.clients.readAll(this.#inUse())
    }
    void (async () => {
      while (!done && this.#world.now < end) done = await all()
    })()
    await this.#until(end, () => done)
    this.#world.check(done, () => `not every member serves: ${this.#describe()}`)
  }

  /** The members by the leader's configuration. */
  #inUse(): NodeId[] {
    const conf = this.#operator.leader()?.conf ?? EMPTY_CONF
    return members(conf).filter(
      (id) => !['broken', 'retired'].includes(this.#machines.get(id)?.state ?? 'retired'),
    )
  }

  #together(index: number): boolean {
    const leader = this.#operator.leader()?.driver?.status()
    if (!leader || leader.conf.votersOutgoing.length > 0 || !this.#operator.idle) return false
    // What is not committed may still change the members.
    if (leader.commit !== leader.lastIndex) return false
    const least = Math.max(index, this.#invariants.committed)
    return this.#inUse().every((id) => {
      const s = this.#machines.get(id)?.driver?.status()
      return s !== undefined && s.applied >= least && s.term === leader.term && s.leader === leader.id
    })
  }

  #describe(): string {
    return [...this.#machines.values()]
      .map((m) => {
        const s = m.driver?.status()
        const conf =
          s &&
          `${s.conf.voters.join()}${s.conf.votersOutgoing.length > 0 ? `/${s.conf.votersOutgoing.join()}` : ''}|${s.conf.learners.join()}`
        return s ? `${m.id}:${s.role} t${s.term} c${s.commit} a${s.applied} [${conf}]` : `${m.id}:${m.state}`
      })
      .join(' ')
  }

  #checkHistory(): void {
    const verdict = checkLinearizable(this.clients.history, keyValueModel(), { steps: 5_000_000 })
    this.#world.count(`history ${verdict.verdict}`)
    this.#world.check(verdict.verdict !== 'violation', () => `not linearizable: ${verdict.report}`)
  }
}

function someOptions(setup: World['rng']['setup']): Partial<DriverOptions> {
  const heartbeatMs = setup.pick([100, 150, 200])
  return {
    tickMs: heartbeatMs / 2,
    heartbeatMs,
    electionMs: heartbeatMs * setup.pick([5, 8]),
    snapshotEntries: setup.pick([10, 30, 100]),
    snapshotBytes: 1 << 20,
    trailingEntries: setup.pick([0, 5, 20]),
    maxMessageBytes: setup.pick([200, 1000, 1 << 20]),
    maxUncommittedBytes: setup.pick([150, 1 << 20, 1 << 20]),
    promoteLag: setup.pick([5, 50]),
  }
}
