import { type FileHandle, open, rename } from 'node:fs/promises'
import path from 'node:path'
import { ProblemError } from '../../contract/index.ts'

const blockBytes = 256 * 1024
const backwardBytes = 64 * 1024
export const newline = 0x0a

/** Did the system refuse with one of these codes (`ENOENT`, …)? */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

/** A full disk as the problem people are told about; every other error as it is. */
export function diskProblem(error: unknown): unknown {
  if (!hasCode(error, 'ENOSPC', 'EDQUOT')) return error
  return new ProblemError('disk_low', 'The disk of this agent is full', { cause: error })
}

/** A new name in a folder is durable only after this. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A single write may take only a part. `at` null: where the file stands. */
export async function writeAll(handle: FileHandle, data: Uint8Array, at: number | null): Promise<void> {
  for (let done = 0; done < data.length;) {
    const position = at === null ? null : at + done
    const { bytesWritten } = await handle.write(data, done, data.length - done, position)
    done += bytesWritten
  }
}

/** Bytes `start` to before `end`, block by block; less when the file ends earlier. */
export async function* readBlocks(handle: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    const block = Buffer.allocUnsafe(Math.min(blockBytes, end - at))
    const { bytesRead } = await handle.read(block, 0, block.length, at)
    if (bytesRead === 0) return
    at += bytesRead
    yield block.subarray(0, bytesRead)
  }
}

/** A small file that is there with its whole content or not at all. */
export async function writeWhole(file: string, content: string): Promise<void> {
  try {
    const handle = await open(`${file}.tmp`, 'w', 0o600)
    try {
      await writeAll(handle, Buffer.from(content), 0)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(`${file}.tmp`, file)
    await syncFolder(path.dirname(file))
  } catch (error) {
    throw diskProblem(error)
  }
}

/** Offset just after the `count`th newline from the end, 0 when there are fewer. Reads backwards, block by block. */
export async function newlineBefore(handle: FileHandle, size: number, count: number): Promise<number> {
  const block = Buffer.allocUnsafe(backwardBytes)
  for (let end = size, left = count; end > 0;) {
    const start = Math.max(0, end - backwardBytes)
    const { bytesRead } = await handle.read(block, 0, end - start, start)
    for (let at = bytesRead - 1; at >= 0; at -= 1) {
      if (block[at] === newline && (left -= 1) === 0) return start + at + 1
    }
    end = start
  }
  return 0
}

/** For `catch`: undefined when there is no such file. */
export function whenAbsent(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT')) throw error
}

/** Runs one thing after another. */
export class Lane {
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  run<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting += 1
    const result = this.#last.then(work).finally(() => (this.#waiting -= 1))
    this.#last = result.catch(() => undefined)
    return result
  }

  get busy(): boolean {
    return this.#waiting > 0
  }
}
