import { RaftDriver } from '../driver.ts'
import type { DriverOptions } from '../driver-api.ts'
import { MemoryStore } from '../memory-store.ts'
import type { LogStore } from '../store.ts'
import { EMPTY_CONF, type ConfState, type NodeId } from '../types.ts'
import { Hub } from './hub.ts'
import { ListMachine } from './list-machine.ts'

export interface Member {
  readonly id: NodeId
  readonly driver: RaftDriver
  readonly store: LogStore
  readonly machine: ListMachine
  readonly failures: Error[]
}

/** Short times: the clocks of one idle process agree well enough. */
export const fast: Partial<DriverOptions> = { tickMs: 5, heartbeatMs: 15, electionMs: 75, timeoutMs: 8000 }

/** Drivers of one process with their stores and state machines, which survive restarts. */
export class Members {
  readonly hub = new Hub()
  readonly running = new Map<NodeId, Member>()
  readonly #options: Partial<DriverOptions>
  readonly #reopen: ((id: NodeId) => Promise<LogStore>) | undefined

  constructor(options: Partial<DriverOptions> = {}, reopen?: (id: NodeId) => Promise<LogStore>) {
    this.#options = { ...fast, ...options }
    this.#reopen = reopen
  }

  /** Founders of one cluster; all of them voters. */
  async found(ids: readonly NodeId[]): Promise<void> {
    const conf: ConfState = { ...EMPTY_CONF, voters: ids }
    for (const id of ids) await this.start(id, new MemoryStore(conf))
  }

  async start(
    id: NodeId,
    store: LogStore = new MemoryStore(EMPTY_CONF),
    machine = new ListMachine(),
  ): Promise<Member> {
    const failures: Error[] = []
    const driver = await RaftDriver.open({
      id,
      store,
      transport: this.hub.connect(id),
      stateMachine: machine,
      options: this.#options,
      onFatal: (e) => failures.push(e),
    })
    const member = { id, driver, store, machine, failures }
    this.running.set(id, member)
    return member
  }

  get(id: NodeId): Member {
    const m = this.running.get(id)
    if (!m) throw new Error(`member ${id} does not run`)
    return m
  }

  /** The process dies: what was not synced is lost. */
  async kill(id: NodeId): Promise<{ store: LogStore; machine: ListMachine }> {
    const { driver, store, machine } = this.get(id)
    this.hub.remove(id)
    this.running.delete(id)
    if (store instanceof MemoryStore) {
      const left = { store: store.crashed(), machine: machine.crashed() }
      await driver.close().catch(() => {})
      return left
    }
    const left = machine.crashed()
    await driver.close()
    if (!this.#reopen) throw new Error('no way to reopen the store')
    return { store: await this.#reopen(id), machine: left }
  }

  async restart(id: NodeId): Promise<Member> {
    const { store, machine } = await this.kill(id)
    return this.start(id, store, machine)
  }

  /** The leader that all running members know. */
  async leader(among: readonly NodeId[] = [...this.running.keys()]): Promise<Member> {
    return until(() => {
      const known = among.map((id) => this.get(id).driver.status())
      const leader = known.find((s) => s.role === 'leader')
      return leader && known.every((s) => s.leader === leader.id) ? this.get(leader.id) : undefined
    })
  }

  async close(): Promise<void> {
    for (const { driver } of this.running.values()) await driver.close().catch(() => {})
  }
}

/** Polls for a condition that must come true; the test's time limit is its end. */
export async function until<T>(condition: () => T | undefined | false): Promise<T> {
  for (let waited = 0; ; waited += 2) {
    const value = condition()
    if (value !== undefined && value !== false) return value
    if (waited > 15_000) throw new Error(`waited in vain for ${condition.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

export const text = (data: Uint8Array): string => Buffer.from(data).toString()
