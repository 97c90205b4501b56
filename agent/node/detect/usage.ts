import { readFileSync } from 'node:fs'
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
  #cpu = readCpu()
  #reading: Promise<unknown> | undefined
  #nextReading = 0

  constructor(options: UsageOptions) {
    this.#options = options
  }

  async read(): Promise<Usage> {
    const { gpus, usage, warnings } = this.#options.gpus.state
    // A host without any, or whose driver does not answer at all, is looked at again at the next detection.
    if (gpus.length) this.#refreshGpus()
    const disk = await diskOf(this.#options.dataDir)
    const memory = parseMeminfo(read('/proc/meminfo'))
    const before = this.#cpu
    this.#cpu = readCpu()
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

/** The kernel makes these files as they are read: that never waits for a disk, and a thread would cost more than it. */
const read = (file: string) => readFileSync(file, 'latin1')

/** Of all cores together since boot, in the kernel's ticks. */
export interface CpuTimes {
  readonly idle: number
  readonly total: number
}

const readCpu = () => parseCpu(read('/proc/stat'))

/** The first line is the sum of all cores: user, nice, system, idle, waiting for disks, interrupts … */
export function parseCpu(text: string): CpuTimes {
  const ticks = /^cpu +([\d ]+)/.exec(text)?.[1]?.split(' ').map(Number) ?? []
  // What guests took is counted as user time already.
  const total = ticks.slice(0, 8).reduce((sum, n) => sum + n, 0)
  if (!(total > 0)) throw new Error('/proc/stat reads otherwise')
  return { idle: (ticks[3] ?? 0) + (ticks[4] ?? 0), total }
}

/** Busy share of all cores between two looks, 0–100. */
export function cpuPercent(before: CpuTimes, after: CpuTimes): number {
  const passed = after.total - before.total
  if (passed <= 0) return 0
  const busy = 1 - (after.idle - before.idle) / passed
  return Math.round(Math.min(Math.max(busy, 0), 1) * 1000) / 10
}

/** `available` is what programs could still take: free memory and what caches would give back. */
export function parseMeminfo(text: string): { total: number; available: number } {
  const read = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? NaN) * 1024
  const [total, available] = [read('MemTotal'), read('MemAvailable')]
  if (!Number.isFinite(total) || !Number.isFinite(available)) throw new Error('/proc/meminfo reads otherwise')
  return { total, available }
}
