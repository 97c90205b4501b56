import type { Gpu, GpuProcess, Usage } from '../../../contract/index.ts'

export type GpuUsage = Usage['gpus'][number]

/** A device as its vendor's program tells of it: what it is, how it does just now, and what runs on it. */
export interface GpuReading {
  readonly gpu: Gpu
  readonly usage: GpuUsage
  readonly processes: readonly RawProcess[]
  /** The N of its device file `/dev/nvidiaN`. */
  readonly minor?: number
}

/** A process on a device, before it is known whose it is. */
export type RawProcess = Pick<GpuProcess, 'pid' | 'name' | 'memory' | 'kind'>

/** What one vendor's program told. */
export interface Found {
  readonly readings: readonly GpuReading[]
  /** Bus ids of devices that the driver cannot reach any more, and what it says of them. */
  readonly lost: ReadonlyMap<string, string>
}

/** `00000000:3B:00.0`, `0000:3b:00.0` and a kernel message's `0000:3b:00` are the same device. */
export function busKey(bus: string): string {
  const match = /^(?:([0-9a-f]+):)?([0-9a-f]{2}):([0-9a-f]{2})/i.exec(bus)
  if (!match) return bus.toLowerCase()
  const domain = Number.parseInt(match[1] ?? '0', 16)
    .toString(16)
    .padStart(4, '0')
  return `${domain}:${match[2]}:${match[3]}`.toLowerCase()
}
