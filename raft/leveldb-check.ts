import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import { crc32c } from './crc32c.ts'
import { REJOIN, StoreError } from './store.ts'

/**
 * LevelDB answers a damaged record in its write-ahead log or manifest by silently dropping the rest of the 32 KiB
 * block, and offers no option against it through this binding. So the files are checked before it opens them. What a
 * power cut may leave is accepted: a last record that is incomplete or wrong, with no correct one after it.
 */
export async function checkLevelFiles(dir: string): Promise<void> {
  const current = await readFile(path.join(dir, 'CURRENT'), 'utf8').catch(() => undefined)
  if (current === undefined)
    throw new StoreError('corrupt', `${dir}: the file CURRENT is lost, and with it the database. ${REJOIN}`)
  const manifest = current.trim()
  if (!/^MANIFEST-\d+$/.test(manifest))
    throw new StoreError('corrupt', `${dir}: the file CURRENT is damaged. ${REJOIN}`)
  const logs = (await readdir(dir)).filter((f) => f.endsWith('.log'))
  for (const name of [manifest, ...logs]) {
    const file = path.join(dir, name)
    const data = await readFile(file).catch((cause: unknown) => {
      throw new StoreError('corrupt', `${file} cannot be read. ${REJOIN}`, { cause })
    })
    const at = firstDamage(data)
    if (at !== undefined) throw new StoreError('corrupt', `${file} is damaged at byte ${at}. ${REJOIN}`)
  }
}

const BLOCK = 32768
const HEADER = 7

/** LevelDB's log format: records [masked crc32c u32][length u16][type u8][data] that never cross a block's end. */
function firstDamage(file: Buffer): number | undefined {
  let pos = 0
  while (pos < file.length) {
    const leftInBlock = BLOCK - (pos % BLOCK)
    if (leftInBlock < HEADER) {
      pos += leftInBlock
      continue
    }
    const end = recordEnd(file, pos)
    if (end === undefined) return somethingFollows(file, pos) ? pos : undefined
    pos = end
  }
  return undefined
}

/** Undefined when no whole, correct record stands at `pos`. */
function recordEnd(file: Buffer, pos: number): number | undefined {
  if (pos + HEADER > file.length) return undefined
  const end = pos + HEADER + file.readUInt16LE(pos + 4)
  const type = file[pos + 6] as number
  if (type < 1 || type > 4 || end > file.length || end - pos > BLOCK - (pos % BLOCK)) return undefined
  return unmask(file.readUInt32LE(pos)) === crc32c(file.subarray(pos + 6, end)) ? end : undefined
}

/** A wrong record is the torn last one only if no correct record follows, in its block or at the start of a later one. */
function somethingFollows(file: Buffer, pos: number): boolean {
  const blockEnd = pos - (pos % BLOCK) + BLOCK
  for (let p = pos + 1; p < Math.min(blockEnd, file.length); p++)
    if (recordEnd(file, p) !== undefined) return true
  for (let p = blockEnd; p < file.length; p += BLOCK) if (recordEnd(file, p) !== undefined) return true
  return false
}

function unmask(masked: number): number {
  const rot = (masked - 0xa282ead8) >>> 0
  return ((rot >>> 17) | (rot << 15)) >>> 0
}
