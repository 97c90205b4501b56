import { readFile } from 'node:fs/promises'
import os from 'node:os'
import type { Usage } from '../../../contract/index.ts'
import type { GpuWatch } from './gpu-watch.ts'
import { diskOf } from './inventory.ts'

export interface UsageOptions {
  readonly dataDir: string
  readonly gpus: Pick<GpuWatch, 'state' | 'read'>
  readonly diskLow: () => boolean
  /** Between two readings of the GPUs, ms. */
  readonly gpuIntervalMs?: number
  readonly pulls?: () => NonNullable<Usage['pulls']>
}

/**
 * Live figures of this host. The vendors' programs take from a tenth of a second to minutes, so the GPUs' figures are
 * those of a reading in the background, at most one at a time.
 */
export class UsageReader {
  readonly #options: UsageOptions
  #cpu = os.cpus()
  #reading: Promise<unknown> | undefined
  #nextReading = 0

  constructor(options: UsageOptions) {
    this.#options = options
  }

  async read(): Promise<Usage> {
    const { gpus, usage, warnings } = this.#options.gpus.state
    // A host without any, or whose driver does not answer at all, is looked at again at the next detection.
    if (gpus.length) this.#refreshGpus()
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
      gpus: gpus.flatMap(({ uuid }) => usage.get(uuid) ?? []),
      disk_low: this.#options.diskLow(),
      ...(this.#options.pulls ? { pulls: this.#options.pulls() } : {}),
      ...(warnings.length ? { warnings: [...warnings] } : {}),
    }
  }

  /** Resolves when the GPUs' reading under way, if any, is done. */
  async settled(): Promise<void> {
    await this.#reading
  }

  /** Not at every heartbeat: one reading of eight GPUs takes half a second of a core. */
  #refreshGpus(): void {
    const { gpus, gpuIntervalMs = 3_000 } = this.#options
    if (this.#reading || performance.now() < this.#nextReading) return
    this.#reading = gpus.read().finally(() => {
      this.#reading = undefined
      this.#nextReading = performance.now() + gpuIntervalMs
    })
  }
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
