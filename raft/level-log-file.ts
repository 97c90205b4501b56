import { crc32c, oneBitAway } from './crc32c.ts'

// LevelDB's format of write-ahead logs and manifests: records [masked crc32c u32][length u16][type u8][data] that never
// cross a block's end. The checksum covers type and data, not the length.
const BLOCK = 32768
const HEADER = 7
const FULL = 1
const LAST = 4

export interface LogFile {
  /** The data of whole records, their fragments joined. */
  readonly records: readonly Buffer[]
  /** Where something stands that neither was written so nor is what a power cut leaves. */
  readonly damage: number | undefined
}

/**
 * Reads such a file. What a power cut may leave at its end is accepted: a record that is incomplete, or wrong with no
 * right one after it. But one of full length of which a single bit is wrong was written whole: that is rot.
 */
export function readLogFile(file: Buffer): LogFile {
  const records: Buffer[] = []
  let fragments: Buffer[] = []
  let pos = 0
  while (pos < file.length) {
    const leftInBlock = BLOCK - (pos % BLOCK)
    if (leftInBlock < HEADER) {
      pos += leftInBlock
      continue
    }
    const end = recordEnd(file, pos)
    if (end === undefined) {
      const torn = !somethingFollows(file, pos) && !hasOneWrongBit(file, pos)
      return { records, damage: torn ? undefined : pos }
    }
    fragments.push(file.subarray(pos + HEADER, end))
    const type = file[pos + 6] as number
    if (type === FULL || type === LAST) {
      records.push(fragments.length === 1 ? (fragments[0] as Buffer) : Buffer.concat(fragments))
      fragments = []
    }
    pos = end
  }
  return { records, damage: undefined }
}

/** Undefined when no whole, correct record stands at `pos`. */
function recordEnd(file: Buffer, pos: number): number | undefined {
  if (pos + HEADER > file.length) return undefined
  const end = pos + HEADER + file.readUInt16LE(pos + 4)
  const type = file[pos + 6] as number
  if (type < FULL || type > LAST || !fits(file, pos, end)) return undefined
  return unmask(file.readUInt32LE(pos)) === crc32c(file.subarray(pos + 6, end)) ? end : undefined
}

const fits = (file: Buffer, pos: number, end: number): boolean =>
  end <= file.length && end - pos <= BLOCK - (pos % BLOCK)

/** A wrong record is the torn last one only if no correct record follows, in its block or at the start of a later one. */
function somethingFollows(file: Buffer, pos: number): boolean {
  const blockEnd = pos - (pos % BLOCK) + BLOCK
  for (let p = pos + 1; p < Math.min(blockEnd, file.length); p++)
    if (recordEnd(file, p) !== undefined) return true
  for (let p = blockEnd; p < file.length; p += BLOCK) if (recordEnd(file, p) !== undefined) return true
  return false
}

/** Whether one bit, changed back, makes a whole record of it: in its data, type, checksum or length. */
function hasOneWrongBit(file: Buffer, pos: number): boolean {
  if (pos + HEADER > file.length) return false
  const stored = file.readUInt32LE(pos)
  const length = file.readUInt16LE(pos + 4)
  if (fits(file, pos, pos + HEADER + length)) {
    const covered = file.subarray(pos + 6, pos + HEADER + length)
    const actual = crc32c(covered)
    if (oneBitAway(covered.length, actual ^ unmask(stored)) || isOneBit(mask(actual) ^ stored)) return true
  }
  for (let bit = 0; bit < 16; bit++) {
    const end = pos + HEADER + (length ^ (1 << bit))
    if (fits(file, pos, end) && crc32c(file.subarray(pos + 6, end)) === unmask(stored)) return true
  }
  return false
}

const isOneBit = (n: number): boolean => n !== 0 && (n & (n - 1)) === 0

/** LevelDB stores checksums so that one over data that holds checksums is a good one too. */
export function unmask(masked: number): number {
  const rot = (masked - 0xa282ead8) >>> 0
  return ((rot >>> 17) | (rot << 15)) >>> 0
}

function mask(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}
