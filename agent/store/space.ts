import { randomFillSync } from 'node:crypto'
import { statfsSync } from 'node:fs'
import { mkdir, open, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { ProblemError } from '../../contract/index.ts'
import { writeAll } from './disk.ts'
import type { Space } from './store.ts'

const mebi = 1024 ** 2
const gibi = 1024 ** 3

export interface DiskSpaceOptions {
  /** Free bytes below which no new work is taken; default: 5 % of the disk, at least 1 GiB, at most 10 GiB. */
  readonly floor?: number
  /** Bytes put aside for an orderly end on a full disk. */
  readonly reserve?: number
  /** Free and total bytes of the file system; a test may measure something else. */
  readonly measure?: (folder: string) => { free: number; total: number }
}

/** The free space where the agent keeps its data, and a reserve to fall back on when there is none. */
export class DiskSpace implements Space {
  readonly floor: number
  readonly #measure: () => { free: number; total: number }
  readonly #reserveFile: string
  readonly #timer: NodeJS.Timeout
  #free: number
  #measuredAt: number

  private constructor(folder: string, options: DiskSpaceOptions) {
    const measure = options.measure ?? measureDisk
    this.#measure = () => measure(folder)
    this.#reserveFile = path.join(folder, 'reserve')
    const { free, total } = this.#measure()
    this.#free = free
    this.#measuredAt = performance.now()
    this.floor = options.floor ?? Math.min(10 * gibi, Math.max(gibi, total * 0.05))
    this.#timer = setInterval(() => this.#sample(), 1000).unref()
  }

  static async open(folder: string, options: DiskSpaceOptions = {}): Promise<DiskSpace> {
    await mkdir(folder, { recursive: true })
    const space = new DiskSpace(folder, options)
    try {
      await space.#setAside(options.reserve ?? 64 * mebi)
    } catch (error) {
      space.close()
      throw error
    }
    return space
  }

  check(share = 1): void {
    if (performance.now() - this.#measuredAt > 250) this.#sample()
    const needed = this.floor * share
    if (this.#free >= needed) return
    throw new ProblemError('disk_low', `${words(this.#free)} are free, ${words(needed)} must stay free`)
  }

  low(): boolean {
    return this.#free < this.floor
  }

  /** Free bytes as last measured. */
  free(): number {
    return this.#free
  }

  /** Give the reserve back to the disk, so that what must be written before stopping can be. */
  async releaseReserve(): Promise<void> {
    await rm(this.#reserveFile, { force: true })
    this.#sample()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** A disk that cannot be asked (unmounted, a stale mount) takes no new work; what runs is not ended for it. */
  #sample(): void {
    try {
      this.#free = this.#measure().free
    } catch {
      this.#free = 0
    }
    this.#measuredAt = performance.now()
  }

  /** Random bytes, because a compressing file system would keep nothing for zeros. Not on a disk that is low already. */
  async #setAside(bytes: number): Promise<void> {
    const held = await stat(this.#reserveFile).then(
      (found) => found.size,
      () => 0,
    )
    if (held === bytes || this.#free < this.floor + bytes) return
    const handle = await open(this.#reserveFile, 'w', 0o600)
    try {
      const block = Buffer.allocUnsafe(Math.min(bytes, mebi))
      for (let left = bytes; left > 0; left -= block.length) {
        await writeAll(handle, randomFillSync(block).subarray(0, left), null)
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    this.#sample()
  }
}

function measureDisk(folder: string) {
  const disk = statfsSync(folder)
  return { free: disk.bavail * disk.bsize, total: disk.blocks * disk.bsize }
}

function words(bytes: number) {
  return bytes >= gibi ? `${(bytes / gibi).toFixed(1)} GiB` : `${Math.floor(bytes / mebi)} MiB`
}
