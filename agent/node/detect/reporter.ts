import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { Gpu, Inventory, Resources } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { Command } from '../../cluster/commands.ts'
import type { State } from '../../cluster/state.ts'
import { bootId } from '../process/proc.ts'
import { allocatable, type Share } from './allocatable.ts'
import { brokenDevices, evictionsFor } from './device-loss.ts'

export interface ReporterOptions {
  readonly cluster: Pick<Cluster, 'self' | 'state' | 'propose'>
  readonly detect: () => Promise<Inventory>
  /** HOST:PORT under which the others reach this agent now. */
  readonly address: () => string
  readonly share?: Share
  /** Whether the driver of a vendor told its devices at the last detection; default: nobody knows. */
  readonly answered?: (vendor: Gpu['vendor']) => boolean
  readonly log: Pick<Logger, 'info' | 'warn'>
  readonly intervalMs?: number
}

const retryMs = 2_000

/** Keeps the cluster's picture of this node true: reports when what it has differs from what the cluster holds. */
export class NodeReporter {
  readonly #options: ReporterOptions
  #timer: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #checking: Promise<void> = Promise.resolve()
  #inventory: Inventory | undefined

  constructor(options: ReporterOptions) {
    this.#options = options
  }

  /** The last inventory found, undefined before the first. */
  get inventory(): Inventory | undefined {
    return this.#inventory
  }

  /** Resolves after the first check, whether or not it could be reported. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.check(), this.#options.intervalMs ?? 60_000)
    await this.check()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#checking
    clearTimeout(this.#retry)
  }

  /** Detect, and report if anything changed. Checks never run side by side. */
  check(): Promise<void> {
    this.#checking = this.#checking.then(() => this.#check())
    return this.#checking
  }

  async #check(): Promise<void> {
    const { cluster, detect, address, share, answered = () => false, log } = this.#options
    try {
      const inventory = (this.#inventory = await detect())
      const { resources, gpus } = allocatable(inventory, share)
      const now = { address: address(), inventory, allocatable: resources, gpus, boot_id: bootId() }
      const known = cluster.state().nodes.get(cluster.self.node)
      // First, since the report makes the cluster forget what was there before.
      const sameBoot = known?.boot_id === now.boot_id
      const broken = sameBoot ? brokenDevices(inventory.gpus, known.inventory?.gpus ?? [], answered) : []
      for (const eviction of evictionsFor(cluster.state(), cluster.self.node, broken))
        await this.#propose(eviction)
      const same =
        known?.inventory && known.allocatable && isSame({ ...known, inventory: known.inventory }, now)
      if (!same || givenUp(known, cluster.state())) {
        await this.#propose({ type: 'node.report', node: cluster.self.node, ...now })
        log.info({ gpus: gpus.length, ...resources }, 'reported what this node has')
      }
    } catch (error) {
      log.warn({ err: error }, 'could not report what this node has; trying again soon')
      // No leader yet, most likely: until it is told, nothing can be placed here.
      clearTimeout(this.#retry)
      this.#retry = setTimeout(() => void this.check(), retryMs)
    }
  }

  async #propose(command: Command): Promise<void> {
    const { cluster } = this.#options
    await cluster.propose(command, { kind: 'node', node: cluster.self.node })
  }
}

interface Report {
  readonly boot_id?: string | null
  readonly address: string
  readonly inventory: Inventory
  readonly allocatable: Resources | null
  readonly gpus: readonly string[]
  /** What it reported and another node owns. */
  readonly refused_gpus?: readonly string[]
}

/** Free space changes all the time and travels with the heartbeat; here only a large change counts. */
function isSame(known: Report, now: Report): boolean {
  const drift = Math.abs(known.inventory.disk.free - now.inventory.disk.free)
  return (
    drift < now.inventory.disk.total * 0.05 &&
    known.address === now.address &&
    known.boot_id === now.boot_id &&
    sameGpus(known, now.gpus) &&
    isDeepStrictEqual({ ...known.allocatable, gpu: 0 }, { ...now.allocatable, gpu: 0 }) &&
    isDeepStrictEqual(withoutFree(known.inventory), withoutFree(now.inventory))
  )
}

/** Those that were refused are reported again, and taken, when their owner has given them up. */
function givenUp(
  { refused_gpus = [] }: Pick<Report, 'refused_gpus'>,
  { nodes }: Pick<State, 'nodes'>,
): boolean {
  return refused_gpus.some((uuid) => !nodes.some((node) => node.gpus.includes(uuid)))
}

function sameGpus({ gpus, refused_gpus = [] }: Report, now: readonly string[]): boolean {
  return isDeepStrictEqual([...gpus, ...refused_gpus].toSorted(), [...now].toSorted())
}

const withoutFree = (inventory: Inventory) => ({ ...inventory, disk: { ...inventory.disk, free: 0 } })
