import type { TraceEvent } from '../../raft/core.ts'
import { DiskStore } from '../../raft/disk-store.ts'
import type { DriverOptions } from '../../raft/driver-api.ts'
import { RaftDriver } from '../../raft/driver.ts'
import { StoreError, type LogStore } from '../../raft/store.ts'
import type { ConfState, NodeId } from '../../raft/types.ts'
import { DiskFault, SimDisk } from './disk.ts'
import type { Invariants, Watched } from './invariants.ts'
import { Life } from './life.ts'
import type { Network } from './network.ts'
import { Registers } from './register.ts'
import type { World } from './world.ts'

export const CLUSTER = 'simulated'

/** Of what the driver logs, what the simulation is there to reach. */
const LOGGED = new Set(['snapshot taken', 'snapshot installed'])

export interface Surroundings {
  readonly world: World
  readonly network: Network
  readonly invariants: Invariants
  readonly options: Partial<DriverOptions>
  /** A process of this machine ended by itself. */
  readonly onExit: (m: Machine) => void
}

/**
 * `broken`: its data is damaged, so it will never start again. `retired`: it was removed from the cluster and switched
 * off for good.
 */
export type MachineState = 'down' | 'starting' | 'up' | 'broken' | 'retired'

/** One machine: a disk that lives on, and on it one process after another. */
export class Machine implements Watched {
  readonly id: NodeId
  readonly disk: SimDisk
  readonly #s: Surroundings
  #founders: ConfState | undefined
  life: Life | undefined
  driver: RaftDriver | undefined
  registers: Registers | undefined
  store: LogStore | undefined
  state: MachineState = 'down'

  /** With `conf` its disk is empty, and the first start creates it. */
  constructor(id: NodeId, s: Surroundings, conf: ConfState) {
    this.id = id
    this.#s = s
    this.disk = new SimDisk(s.world, id)
    this.#founders = conf
  }

  get conf(): ConfState | undefined {
    return this.driver?.status().conf
  }
  /** Its data is damaged, whether anybody has noticed or not. */
  get doomed(): boolean {
    return this.state === 'broken' || this.disk.damage !== undefined || this.disk.rot
  }
  get leads(): boolean {
    return this.state === 'up' && this.driver?.status().role === 'leader'
  }

  start(): void {
    if (this.state !== 'down') return
    this.state = 'starting'
    const life = new Life(this.#s.world)
    this.life = life
    this.#s.world.trace(() => `start ${this.id}`)
    this.#open(life).catch((e: unknown) => this.#failed(life, e))
  }

  async #open(life: Life): Promise<void> {
    const { world, network, invariants, options } = this.#s
    const disk = this.disk.mount(life)
    const identity = { id: this.id, clusterId: CLUSTER }
    const conf = this.#founders
    const store = await openStore(disk, identity, conf)
    this.#founders = undefined
    watch(store, this.id, invariants)
    const kv = await disk.openDatabase('state', { create: !(await disk.exists('state')) })
    const registers = await Registers.open(kv, (e, digest) => invariants.onApplied(this.id, e, digest))
    world.check(this.disk.damage === undefined, () => `${this.id} starts with ${this.disk.damage}`)
    this.store = store
    invariants.opened(this.id, store, Math.max(registers.applied, store.initial().index))
    const driver = await RaftDriver.open({
      id: this.id,
      store,
      transport: network.connect(this.id, life),
      stateMachine: registers,
      options,
      env: life.env(),
      onFatal: (e) => this.#failed(life, e),
      log: { info: (what) => LOGGED.has(what) && world.count(`some ${what}`), warn: () => {} },
      trace: (e) => life.alive && this.#onTrace(e),
    })
    if (!life.alive) return
    this.driver = driver
    this.registers = registers
    this.state = 'up'
    world.trace(() => `up ${this.id}`)
  }

  #onTrace(e: TraceEvent): void {
    this.#s.world.trace(
      () =>
        `${e.id} ${e.event} ${e.event === 'role' ? e.role : e.event === 'commit' ? e.commit : ''} term ${e.term}`,
    )
    this.#s.invariants.onTrace(e)
  }

  /** Only what was injected may end a process; anything else is a finding. */
  #failed(life: Life, e: unknown): void {
    if (!life.alive) return
    const { world, onExit } = this.#s
    const refused = e instanceof StoreError && ['corrupt', 'missing', 'foreign'].includes(e.code)
    world.trace(() => `exit ${this.id}: ${String(e)}`)
    if (refused && (this.disk.damage !== undefined || this.disk.rot)) {
      this.crash(false)
      this.state = 'broken'
      world.count('some damaged member refused')
    } else if ([...causes(e)].some((c) => c instanceof DiskFault)) {
      this.crash(false)
    } else {
      world.fail(`${this.id} failed: ${e instanceof Error ? e.stack : String(e)}`)
      return
    }
    onExit(this)
  }

  /** The process is gone. */
  end(): void {
    this.life?.die()
    this.life = undefined
    this.driver = undefined
    this.registers = undefined
    if (this.state === 'up' || this.state === 'starting') this.state = 'down'
  }

  crash(powerCut: boolean): void {
    this.end()
    this.disk.crash(powerCut)
  }

  retire(): void {
    this.end()
    this.state = 'retired'
  }
}

async function openStore(
  disk: Parameters<typeof DiskStore.open>[0],
  identity: { id: number; clusterId: string },
  conf: ConfState | undefined,
): Promise<LogStore> {
  // A creation that a crash interrupted is done again: nobody has heard of this member yet.
  if (conf && !(await disk.exists('identity.json'))) return DiskStore.create(disk, { ...identity, conf })
  return DiskStore.open(disk, identity)
}

function watch(store: LogStore, id: NodeId, invariants: Invariants): void {
  const append = store.append.bind(store)
  store.append = (entries, hard, sync) => {
    invariants.onStored(id, entries, store)
    return append(entries, hard, sync)
  }
}

function* causes(e: unknown): Generator<unknown> {
  for (let at = e; at instanceof Error; at = at.cause) yield at
}
