import { crc32c } from './crc32c.ts'
import type { Disk } from './disk.ts'

export interface Written {
  readonly bytes: number
  readonly crc32c: number
}

/** Small pieces are joined up to this, so that an image of many rows is not as many writes. */
const PIECE = 128 << 10

/** Writes a whole file that after a crash is either complete or not there. */
export async function writeDurably(
  disk: Disk,
  name: string,
  data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Written> {
  const tmp = `${name}.tmp`
  const writer = await disk.write(tmp)
  let written: Written = { bytes: 0, crc32c: 0 }
  try {
    for await (const piece of pieces(data)) {
      await writer.write(piece)
      written = extend(written, piece)
    }
    await writer.sync()
  } catch (e) {
    await writer.close()
    await disk.remove(tmp)
    throw e
  }
  await writer.close()
  await disk.rename(tmp, name)
  return written
}

export function extend(so: Written, piece: Uint8Array): Written {
  return { bytes: so.bytes + piece.length, crc32c: crc32c(piece, so.crc32c) }
}

/** Length and checksum of a file as it is. */
export async function measure(disk: Disk, name: string): Promise<Written> {
  let found: Written = { bytes: 0, crc32c: 0 }
  for await (const piece of disk.read(name)) found = extend(found, piece)
  return found
}

export async function readWhole(disk: Disk, name: string): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of disk.read(name)) all.push(piece)
  return Buffer.concat(all)
}

async function* pieces(
  data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  let waiting: Uint8Array[] = []
  let bytes = 0
  for await (const piece of data) {
    if (bytes === 0 && piece.length >= PIECE) {
      yield piece
      continue
    }
    waiting.push(piece)
    bytes += piece.length
    if (bytes < PIECE) continue
    yield Buffer.concat(waiting)
    waiting = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(waiting)
}
