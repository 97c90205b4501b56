import { Reader, Writer } from './bytes.ts'
import { readEntry, readMeta, writeEntry, writeMeta } from './codec.ts'
import { crc32c } from './crc32c.ts'
import { REJOIN, StoreError } from './store.ts'
import type { Entry, HardState, Index, SnapshotMeta, Term } from './types.ts'

/** The last entry stands with the hard state, so that a log that lost its end is recognized. */
export interface HardRecord extends HardState {
  readonly lastIndex: Index
  readonly lastTerm: Term
}

export interface BaseRecord {
  readonly index: Index
  readonly term: Term
}

/** Records are [crc32c u32][body]. */
export const seal = {
  make(sizeHint: number, body: (w: Writer) => void): Buffer {
    const w = new Writer(sizeHint).u32(0)
    body(w)
    const all = w.done()
    all.writeUInt32LE(crc32c(all.subarray(4)), 0)
    return all
  },
  open<T>(value: Buffer, what: string, decode: (r: Reader) => T): T {
    try {
      const r = new Reader(value)
      if (r.u32() === crc32c(value.subarray(4))) {
        const out = decode(r)
        r.end()
        return out
      }
    } catch (cause) {
      throw new StoreError('corrupt', `${what} cannot be decoded. ${REJOIN}`, { cause })
    }
    throw new StoreError('corrupt', `${what} is damaged. ${REJOIN}`)
  },
}

/** Fixed width, so that LevelDB's order is the log's. */
export function batchKey(first: Index): string {
  return `e${first.toString(16).padStart(14, '0')}`
}

export function encodeBatch(entries: readonly Entry[]): Buffer {
  const size = entries.reduce((n, e) => n + e.data.length + 24, 16)
  return seal.make(size, (w) => {
    w.int(entries.length)
    for (const e of entries) writeEntry(w, e)
  })
}

export function decodeBatch(r: Reader): Entry[] {
  const n = r.count()
  const out: Entry[] = []
  for (let i = 0; i < n; i++) out.push(readEntry(r))
  return out
}

export function encodeHard(h: HardRecord): Buffer {
  return seal.make(40, (w) => w.int(h.term).int(h.vote).int(h.commit).int(h.lastIndex).int(h.lastTerm))
}

export function decodeHard(r: Reader): HardRecord {
  return { term: r.int(), vote: r.int(), commit: r.int(), lastIndex: r.int(), lastTerm: r.int() }
}

export function encodeBase(b: BaseRecord): Buffer {
  return seal.make(20, (w) => w.int(b.index).int(b.term))
}

export function decodeBase(r: Reader): BaseRecord {
  return { index: r.int(), term: r.int() }
}

export function encodeSnapshot(m: SnapshotMeta): Buffer {
  return seal.make(128, (w) => writeMeta(w, m))
}

export const decodeSnapshot: (r: Reader) => SnapshotMeta = readMeta
