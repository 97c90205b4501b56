import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { crc32c } from './crc32c.ts'

/** Without this a created or renamed file may be gone after power loss. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Writes a whole file that after a crash is either complete or not there. Returns its length and checksum. */
export async function writeDurably(
  file: string,
  data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  check?: (written: { bytes: number; crc32c: number }) => void,
): Promise<{ bytes: number; crc32c: number }> {
  const tmp = `${file}.tmp`
  const handle = await open(tmp, 'w', 0o600)
  const written = { bytes: 0, crc32c: 0 }
  try {
    for await (const chunk of data) {
      await handle.writeFile(chunk)
      written.bytes += chunk.length
      written.crc32c = crc32c(chunk, written.crc32c)
    }
    check?.(written)
    await handle.sync()
  } catch (e) {
    await handle.close()
    await rm(tmp, { force: true })
    throw e
  }
  await handle.close()
  await rename(tmp, file)
  await syncDirectory(path.dirname(file))
  return written
}
