import { Reader } from './bytes.ts'
import { RaftError } from './types.ts'

/** The files that a database is made of, as its manifest says. */
export interface LiveFiles {
  /** Number and size of each table. */
  readonly tables: ReadonlyMap<number, number>
  /** The oldest write-ahead log that is still needed. */
  readonly log: number | undefined
}

/** Replays a manifest: each record is a list of tagged changes. Throws RaftError 'codec' for what is none. */
export function readManifest(records: readonly Buffer[]): LiveFiles {
  const tables = new Map<number, number>()
  let log: number | undefined
  for (const record of records) {
    const r = new Reader(record)
    while (r.left > 0) log = readChange(r, tables) ?? log
  }
  return { tables, log }
}

/** The log's number, if that is what changes. */
function readChange(r: Reader, tables: Map<number, number>): number | undefined {
  const tag = r.int()
  switch (tag) {
    case 1: // comparator
      r.bytes()
      return undefined
    case 2: // log
      return r.int()
    case 3: // next file
    case 9: // log before
      r.int()
      return undefined
    case 4: // last sequence
      r.int()
      return undefined
    case 5: // where compaction goes on: level, key
      r.int()
      r.bytes()
      return undefined
    case 6: // table goes: level, number
      r.int()
      tables.delete(r.int())
      return undefined
    case 7: {
      // table comes: level, number, size, smallest and largest key
      r.int()
      const number = r.int()
      tables.set(number, r.int())
      r.bytes()
      r.bytes()
      return undefined
    }
    default:
      throw new RaftError('codec', `unknown change ${tag}`)
  }
}
