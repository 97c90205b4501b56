import { closeSync, constants, openSync, readSync } from 'node:fs'
import type { Reason } from '../../../contract/index.ts'
import { busKey } from './reading.ts'

/** After these a device needs a reset or the host a restart; others are an application's own mistakes. */
const fatal: ReadonlyMap<number, string> = new Map([
  [48, 'its memory had an error that could not be corrected'],
  [62, 'its microcontroller halted'],
  [64, 'bad memory could not be put aside'],
  [79, 'it fell off the bus'],
  [95, 'its memory had an error that was not contained'],
  [119, 'its system processor stopped answering'],
  [120, 'its system processor failed'],
])

/**
 * What the kernel wrote of the NVIDIA driver since it was loaded. The driver reports a failure there as "Xid"; older
 * versions of nvidia-smi do not tell of it.
 */
export class KernelLog {
  readonly #path: string
  readonly #faults = new Map<string, Reason>()
  #fd: number | undefined
  #unreadable = false

  constructor(path = '/dev/kmsg') {
    this.#path = path
  }

  /** Faults by bus key, with everything written so far. Empty where the log may not be read. */
  faults(): ReadonlyMap<string, Reason> {
    for (const line of this.#newLines()) this.#take(line)
    return this.#faults
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  #take(line: string): void {
    // A driver loaded anew starts with healthy devices.
    if (/NVRM: loading NVIDIA/.test(line)) return this.#faults.clear()
    const match = /NVRM: Xid \(PCI:([0-9a-f:.]+)\): (\d+)/i.exec(line)
    const why = match && fatal.get(Number(match[2]))
    if (!match?.[1] || !why) return
    const message = `${why} (Xid ${match[2]} in the kernel's log); reset it, load the driver anew or restart the host`
    this.#faults.set(busKey(match[1]), { code: 'gpu_failed', message })
  }

  *#newLines(): Generator<string> {
    if (this.#unreadable) return
    const chunk = Buffer.alloc(8192)
    try {
      // It cannot block: the kernel answers EAGAIN after the newest record.
      this.#fd ??= openSync(this.#path, constants.O_RDONLY | constants.O_NONBLOCK)
      for (;;) {
        const length = readRecord(this.#fd, chunk)
        if (length === 0) return
        if (length > 0) yield* chunk.toString('utf8', 0, length).split('\n')
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EAGAIN') this.#unreadable = true
    }
  }
}

/** −1: what would have come next was overwritten before it was read; go on with what there is. */
function readRecord(fd: number, chunk: Buffer): number {
  try {
    return readSync(fd, chunk)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return -1
    throw error
  }
}
