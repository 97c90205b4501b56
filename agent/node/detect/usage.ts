import { readFile } from 'node:fs/promises'
import os from 'node:os'
import type { Gpu, Usage } from '../../../contract/index.ts'
import { type GpuReading, readNvidia } from './gpus.ts'
import { diskOf } from './inventory.ts'

export interface UsageOptions {
  readonly dataDir: string
  /** The GPUs found at detection; their figures are null while nvidia-smi fails. */
  readonly gpus: () => readonly Gpu[]
  readonly diskLow: () => boolean
  readonly pulls?: () => NonNullable<Usage['pulls']>
  readonly nvidia?: () => Promise<GpuReading[]>
}

/**
 * Live figures of this host. nvidia-smi takes from a tenth of a second to minutes, so the GPUs' figures are those of
 * a reading in the background, at most one at a time.
 */
export class UsageReader {
  readonly #options: UsageOptions
  #cpu = os.cpus()
  #gpus = new Map<string, Usage['gpus'][number]>()
  #reading: Promise<void> | undefined

  constructor(options: UsageOptions) {
    this.#options = options
  }

  async read(): Promise<Usage> {
    const known = this.#options.gpus()
    if (known.length) this.#refreshGpus()
    const [memory, disk] = await Promise.all([
      readFile('/proc/meminfo', 'latin1').then(parseMeminfo),
      diskOf(this.#options.dataDir),
    ])
    const before = this.#cpu
    this.#cpu = os.cpus()
    return {
      at: new Date().toISOString(),
      cpu_percent: cpuPercent(before, this.#cpu),
      memory_used: memory.total - memory.available,
      memory_total: memory.total,
      disk_free: disk.free,
      disk_total: disk.total,
      load1: os.loadavg()[0] ?? 0,
      gpus: known.map(({ uuid }) => this.#gpus.get(uuid) ?? unknownGpu(uuid)),
      disk_low: this.#options.diskLow(),
      ...(this.#options.pulls ? { pulls: this.#options.pulls() } : {}),
    }
  }

  /** Resolves when the GPUs' reading under way, if any, is done. */
  async settled(): Promise<void> {
    await this.#reading
  }

  #refreshGpus(): void {
    const nvidia = this.#options.nvidia ?? readNvidia
    this.#reading ??= nvidia()
      .then(
        (readings) => {
          this.#gpus = new Map(readings.map(({ usage }) => [usage.uuid, usage]))
        },
        () => this.#gpus.clear(),
      )
      .finally(() => {
        this.#reading = undefined
      })
  }
}

function unknownGpu(uuid: string): Usage['gpus'][number] {
  return { uuid, utilization_percent: null, memory_used: null, temperature_c: null, power_w: null }
}

type CpuTimes = readonly Pick<os.CpuInfo, 'times'>[]

/** Busy share of all cores between two looks, 0–100. */
export function cpuPercent(before: CpuTimes, after: CpuTimes): number {
  const [idle, total] = [(t: CpuTimes) => sum(t, ['idle']), (t: CpuTimes) => sum(t, parts)]
  const passed = total(after) - total(before)
  if (passed <= 0) return 0
  const busy = 1 - (idle(after) - idle(before)) / passed
  return Math.round(Math.min(Math.max(busy, 0), 1) * 1000) / 10
}

const parts = ['user', 'nice', 'sys', 'idle', 'irq'] as const
function sum(cpus: CpuTimes, of: readonly (typeof parts)[number][]): number {
  return cpus.reduce((all, { times }) => all + of.reduce((part, name) => part + times[name], 0), 0)
}

/** `available` is what programs could still take: free memory and what caches would give back. */
export function parseMeminfo(text: string): { total: number; available: number } {
  const read = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? NaN) * 1024
  const [total, available] = [read('MemTotal'), read('MemAvailable')]
  if (!Number.isFinite(total) || !Number.isFinite(available)) throw new Error('/proc/meminfo reads otherwise')
  return { total, available }
}
