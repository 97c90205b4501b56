import { Reader } from './bytes.ts'
import { crc32c } from './crc32c.ts'
import { unmask } from './level-log-file.ts'
import { RaftError } from './types.ts'

const FOOTER = 48
const MAGIC = [0xdb, 0x47, 0x75, 0x24, 0x8b, 0x80, 0xfb, 0x57].toReversed()
/** [type u8][masked crc32c u32] after each block; the checksum covers block and type. */
const TRAILER = 5
const PLAIN = 0

interface Handle {
  readonly at: number
  readonly size: number
}

/** What is wrong with a table, if anything: every block is checked, which LevelDB does not do when it reads one. */
export function tableDamage(table: Buffer): string | undefined {
  try {
    checkTable(table)
    return undefined
  } catch (e) {
    if (e instanceof RaftError) return e.message
    throw e
  }
}

function checkTable(table: Buffer): void {
  if (table.length < FOOTER) throw new RaftError('codec', 'it is cut off')
  const footer = table.subarray(table.length - FOOTER)
  if (MAGIC.some((byte, i) => footer[FOOTER - 8 + i] !== byte))
    throw new RaftError('codec', 'its end is damaged')
  const r = new Reader(footer)
  const meta = readHandle(r)
  const index = readHandle(r)
  for (const block of [...handlesIn(checkBlock(table, meta)), ...handlesIn(checkBlock(table, index))])
    checkBlock(table, block)
}

function readHandle(r: Reader): Handle {
  return { at: r.int(), size: r.int() }
}

function checkBlock(table: Buffer, { at, size }: Handle): Buffer {
  const end = at + size
  if (end + TRAILER > table.length - FOOTER) throw new RaftError('codec', `block ${at} is cut off`)
  if (unmask(table.readUInt32LE(end + 1)) !== crc32c(table.subarray(at, end + 1)))
    throw new RaftError('codec', `block ${at} is damaged`)
  if (table[end] !== PLAIN) throw new RaftError('codec', `block ${at} is compressed`)
  return table.subarray(at, end)
}

/** The values of an index block: [shared key bytes][other key bytes][value bytes][key][value]…, restarts, their count. */
function handlesIn(block: Buffer): Handle[] {
  const restarts = block.length < 4 ? 0 : block.readUInt32LE(block.length - 4)
  const end = block.length - 4 * (restarts + 1)
  if (end < 0) throw new RaftError('codec', 'an index block is too short')
  const r = new Reader(block.subarray(0, end))
  const handles: Handle[] = []
  while (r.left > 0) {
    r.int()
    const key = r.int()
    const size = r.int()
    r.take(key)
    handles.push(readHandle(new Reader(r.take(size))))
  }
  return handles
}
