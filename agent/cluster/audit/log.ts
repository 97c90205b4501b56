import type { AuditRecord } from '../../../contract/index.ts'
import type { StateDb } from '../../store/state-db.ts'
import type { AuditRead } from './read.ts'

type Db = Pick<StateDb, 'auditBefore' | 'auditAfter'>

/** Records on their way to LevelDB are the newest; there, only those before them are looked for. */
export async function* auditBefore(
  db: Db,
  unwritten: readonly AuditRecord[],
  read: AuditRead,
): AsyncGenerator<AuditRecord> {
  const before = read.before ?? Number.MAX_SAFE_INTEGER
  for (const record of unwritten.toReversed()) if (record.seq < before) yield record
  const written = unwritten[0]?.seq ?? lastSeq
  yield* db.auditBefore(Math.min(before, written), read)
}

/** Up to the newest when it was asked for, whatever is written while it is read. */
export async function* auditAfter(
  db: Db,
  unwritten: readonly AuditRecord[],
  seq: number,
  newest: number,
): AsyncGenerator<AuditRecord> {
  const written = (unwritten[0]?.seq ?? newest + 1) - 1
  yield* db.auditAfter(seq, written)
  for (const record of unwritten) if (record.seq > seq) yield record
}

/** Beyond every number: as many digits as keys have. */
const lastSeq = 99_999_999_999_999
