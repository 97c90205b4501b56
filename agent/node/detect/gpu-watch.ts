import { isDeepStrictEqual } from 'node:util'
import type { Gpu, GpuProcess, Reason } from '../../../contract/index.ts'
import type { Vendor } from './gpus.ts'
import { busKey, type Found, type GpuReading, type GpuUsage, type RawProcess } from './reading.ts'

export interface GpuWatchOptions {
  readonly vendors: Readonly<Record<Gpu['vendor'], Vendor>>
  /** Whose the processes of each device are. */
  readonly owners: (devices: readonly (readonly RawProcess[])[]) => Promise<GpuProcess[][]>
  /** By bus key. */
  readonly kernelFaults?: () => ReadonlyMap<string, Reason>
  /** UUIDs or indexes of the GPUs that tasks may share, or `all`. */
  readonly shared?: readonly string[]
  /** A device came, went, or is sick or well again. Not called for the first reading. */
  readonly onChange?: () => void
}

/** The host's devices as last read. */
export interface GpuState {
  readonly gpus: readonly Gpu[]
  readonly usage: ReadonlyMap<string, GpuUsage>
  /** The N of `/dev/nvidiaN`, by UUID. */
  readonly minors: ReadonlyMap<string, number>
  /** Vendors whose driver told its devices. */
  readonly answered: ReadonlySet<Gpu['vendor']>
  /** What could not be read, a sentence each. */
  readonly warnings: readonly string[]
}

const nothing: GpuState = {
  gpus: [],
  usage: new Map(),
  minors: new Map(),
  answered: new Set(),
  warnings: [],
}

interface Told {
  readonly vendor: Gpu['vendor']
  readonly answered: boolean
  readonly readings: readonly GpuReading[]
  readonly warning?: string
}

/**
 * Knows the host's GPUs. A device that was there and is not any more stays known as lost until the agent starts anew,
 * so that people see what is missing; while a driver does not answer, its devices are kept but not handed out.
 */
export class GpuWatch {
  readonly #options: GpuWatchOptions
  #state: GpuState | undefined
  #reading: Promise<GpuState> | undefined

  constructor(options: GpuWatchOptions) {
    this.#options = options
  }

  /** As last read; nothing before the first reading. */
  get state(): GpuState {
    return this.#state ?? nothing
  }

  gpu(uuid: string): Gpu | undefined {
    return this.state.gpus.find((gpu) => gpu.uuid === uuid)
  }

  /** A new reading, or the one under way: the vendors' programs take from a tenth of a second to minutes. Never fails. */
  read(): Promise<GpuState> {
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #read(): Promise<GpuState> {
    const before = this.#state
    const vendors = Object.entries(this.#options.vendors) as [Gpu['vendor'], Vendor][]
    const told = await Promise.all(vendors.map(([vendor, ask]) => this.#ask(vendor, ask)))
    const readings = told.flatMap((one) => one.readings)
    const processes = await this.#options.owners(readings.map((one) => one.processes))
    const state: GpuState = {
      gpus: readings.map(({ gpu }) => gpu),
      usage: new Map(
        readings.map(({ usage }, at) => [usage.uuid, { ...usage, processes: processes[at] ?? [] }]),
      ),
      minors: new Map(readings.flatMap(({ gpu, minor }) => (minor === undefined ? [] : [[gpu.uuid, minor]]))),
      answered: new Set(told.flatMap(({ vendor, answered }) => (answered ? [vendor] : []))),
      warnings: told.flatMap(({ warning }) => warning ?? []),
    }
    this.#state = state
    if (before && !isDeepStrictEqual(before.gpus, state.gpus)) this.#options.onChange?.()
    return state
  }

  async #ask(vendor: Gpu['vendor'], ask: Vendor): Promise<Told> {
    const known = this.state.gpus.filter((gpu) => gpu.vendor === vendor)
    try {
      const found = await ask()
      if (!found && known.length) throw new Error("the driver's program is gone")
      const readings = found ? this.#judged(found, known) : []
      return { vendor, answered: found !== undefined, readings }
    } catch (error) {
      const warning = `The GPUs of this host cannot be read: ${(error as Error).message}.`
      const silent = {
        code: 'driver_silent',
        message: 'its driver does not answer, so nobody knows how it is',
      }
      const readings = known.map((gpu) => unread(gpu, gpu.fault ?? silent, this.#minor(gpu)))
      return { vendor, answered: false, readings, warning }
    }
  }

  #judged({ readings, lost }: Found, known: readonly Gpu[]): GpuReading[] {
    const faults = this.#options.kernelFaults?.() ?? new Map<string, Reason>()
    const present = readings.map((reading) => this.#withFault(this.#withShare(reading), faults))
    const here = new Set(present.map(({ gpu }) => gpu.uuid))
    // A slice that is gone was taken away by an admin, or with the GPU it was cut from.
    const gone = known.filter(({ uuid, mig }) => !here.has(uuid) && !(mig && here.has(mig.parent)))
    return [...present, ...gone.map((gpu) => unread(gpu, lossOf(gpu, lost), this.#minor(gpu)))]
  }

  #withFault(reading: GpuReading, faults: ReadonlyMap<string, Reason>): GpuReading {
    const { gpu } = reading
    const fault = gpu.fault ?? (gpu.bus_id === undefined ? undefined : faults.get(busKey(gpu.bus_id)))
    return fault ? { ...reading, gpu: { ...gpu, fault }, usage: { ...reading.usage, fault } } : reading
  }

  #withShare(reading: GpuReading): GpuReading {
    const { shared = [] } = this.#options
    const { gpu } = reading
    if (gpu.mig_mode || !shared.some((given) => given === 'all' || isGpu(given, gpu))) return reading
    return { ...reading, gpu: { ...gpu, shared: true } }
  }

  #minor({ uuid }: Gpu): number | undefined {
    return this.state.minors.get(uuid)
  }
}

/** A GPU is given by its UUID, the beginning of it as nvidia-smi allows, or its index; a slice by its UUID alone. */
export function isGpu(given: string, gpu: Gpu): boolean {
  if (given === gpu.uuid || (given.length >= 8 && gpu.uuid.startsWith(given))) return true
  return given === String(gpu.index) || given === gpu.mig?.parent
}

function lossOf(gpu: Gpu, lost: ReadonlyMap<string, string>): Reason {
  const words = gpu.bus_id === undefined ? undefined : lost.get(busKey(gpu.bus_id))
  const why = words === undefined ? 'it is gone from the host' : `the driver says of it: ${words}`
  return { code: 'gpu_lost', message: `${why}; restart the host, and look at its power and seat` }
}

function unread(gpu: Gpu, fault: Reason, minor: number | undefined): GpuReading {
  const { uuid } = gpu
  return {
    gpu: { ...gpu, fault },
    usage: { uuid, utilization_percent: null, memory_used: null, temperature_c: null, power_w: null, fault },
    processes: [],
    ...(minor === undefined ? {} : { minor }),
  }
}
