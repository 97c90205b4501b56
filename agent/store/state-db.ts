import { Level } from 'level'
import { readdir } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { AuditRecord, Event } from '../../contract/index.ts'
import { findLevelDamage } from '../../raft/index.ts'
import { Tables } from '../cluster/image.ts'
import type { AuditRead } from '../cluster/audit/read.ts'
import type { State } from '../cluster/state.ts'
import { auditIndexKeys, auditIndexOf, auditKey, numbered, seqOf } from './audit-table.ts'

/** The state database cannot be trusted: what is wrong and what to do. */
export class StateDamaged extends Error {
  readonly hint =
    'Move this folder away and start the agent again: the state is rebuilt from the snapshot and the log.'
}

/** Everything one flush writes, atomically. */
export interface Flush {
  readonly applied: number
  readonly staged: Staged
  readonly events: readonly StoredEvent[]
  readonly audit?: readonly AuditRecord[]
  readonly sessions: readonly { readonly key: string; readonly value: Uint8Array | undefined }[]
  /** Must it, and all before it, survive a power cut? */
  readonly sync: boolean
}

/** Rows that changed, encoded, and the digest of all rows with them. */
export interface Staged {
  readonly rows: ReadonlyMap<string, Buffer | undefined>
  readonly digest: number
}

/** What happened, beside the rows: it never changes. */
export type History = StoredEvent | StoredAudit

export interface StoredAudit {
  readonly audit: AuditRecord
}

/** An event with the experiment it is shown under, if any. */
export interface StoredEvent {
  readonly event: Event
  readonly workload?: string | undefined
}

interface Mark {
  readonly applied: number
  readonly digest: number
}

const appliedKey = 'm!applied'
const nothing = Buffer.alloc(0)
/** Sums stay exact, however many rows there are. */
const modulus = 2 ** 48
const after = (prefix: string) => ({ gt: prefix, lt: prefix + '\uffff' })

/**
 * The durable copy of the replicated state in LevelDB. Most writes are not synced: after a power loss the raft log,
 * which is, is replayed from the applied index found here. Every row carries a CRC, since LevelDB's own are not checked on read.
 */
export class StateDb {
  readonly #db: Level<string, Buffer>
  /**
   * CRC of each row and session, and their sums. That of the rows is the same on every replica that applied the same
   * entries. Each batch stores both together, so that one that LevelDB lost silently shows at the next start.
   */
  readonly #sums = new Map<string, number>()
  #digest = 0
  #sessionSum = 0
  #staged = new Map<string, Buffer | undefined>()

  private constructor(db: Level<string, Buffer>) {
    this.#db = db
  }

  /** A lost database is made anew: empty, it says applied 0, and raft restores its snapshot and replays its log. */
  static async open(dir: string): Promise<StateDb> {
    const damage = (await hasData(dir)) ? await findLevelDamage(dir, { tables: false }) : undefined
    if (damage) throw new StateDamaged(damage)
    const db = new Level<string, Buffer>(dir, { valueEncoding: 'buffer' })
    try {
      await db.open()
    } catch (cause) {
      throw new StateDamaged(`the state database ${dir} does not open: ${messageOf(cause)}`, { cause })
    }
    return new StateDb(db)
  }

  /** Throws StateDamaged when a row was altered or a batch is missing. */
  async load(): Promise<{ applied: number; state: State }> {
    const tables = new Tables()
    for await (const [key, value] of this.#db.iterator(after('r!'))) {
      const [, table = '', ...rest] = key.split('!')
      tables.add(table, rest.join('!'), decode(key, value) as object)
      this.#countRow(key, value)
    }
    for await (const [key, value] of this.#db.iterator(after('s!'))) this.#countSession(key, value)
    const mark = await this.#db.get(appliedKey)
    const { applied, digest } = mark ? (decode(appliedKey, mark) as Mark) : { applied: 0, digest: 0 }
    if (digest % modulus !== (this.#digest + this.#sessionSum) % modulus)
      throw new StateDamaged('the state database lacks rows that were written to it')
    return { applied, state: tables.state() }
  }

  async sessions(): Promise<{ key: string; value: Uint8Array }[]> {
    const rows: { key: string; value: Uint8Array }[] = []
    for await (const [key, value] of this.#db.iterator(after('s!')))
      rows.push({ key: key.slice(2), value: decodeBytes(key, value) })
    return rows
  }

  get digest(): number {
    return this.#digest
  }

  /** Notes a changed row, `table!key`; `undefined` deletes. It is written with the next batch. */
  stage(rowKey: string, row: object | undefined): void {
    const key = `r!${rowKey}`
    const value = row && encode(row)
    this.#staged.set(key, value)
    this.#countRow(key, value)
  }

  /** What was staged since the last call. */
  takeStaged(): Staged {
    const rows = this.#staged
    this.#staged = new Map()
    return { rows, digest: this.#digest }
  }

  async write({ applied, staged, events, audit = [], sessions, sync }: Flush): Promise<void> {
    const batch = this.#db.batch()
    for (const [key, value] of staged.rows)
      if (value) batch.put(key, value)
      else batch.del(key)
    for (const stored of events) {
      const { event, workload } = stored
      batch.put(`e!${event.id}`, encode(stored))
      for (const subject of new Set([event.subject.id, workload]))
        if (subject) batch.put(`x!${subject}!${event.id}`, encode(event.id))
    }
    for (const record of audit) {
      batch.put(auditKey(record.seq), encode(record))
      for (const key of auditIndexKeys(record)) batch.put(key, nothing)
    }
    for (const session of sessions) {
      const key = `s!${session.key}`
      const value = session.value && encodeBytes(session.value)
      if (value) batch.put(key, value)
      else batch.del(key)
      this.#countSession(key, value)
    }
    const digest = (staged.digest + this.#sessionSum) % modulus
    batch.put(appliedKey, encode({ applied, digest } satisfies Mark))
    await batch.write({ sync })
  }

  /** Events after the cursor, oldest or newest first; of one subject or all. */
  async events(query: {
    subject?: string
    after?: string
    limit: number
    newest: boolean
  }): Promise<Event[]> {
    const prefix = query.subject ? `x!${query.subject}!` : 'e!'
    const range = { ...after(prefix), limit: query.limit, reverse: query.newest }
    if (query.after)
      Object.assign(range, query.newest ? { lt: prefix + query.after } : { gt: prefix + query.after })
    const keys = await this.#db.keys(range).all()
    const values = await this.#db.getMany(keys.map((key) => `e!${key.slice(prefix.length)}`))
    return values.flatMap((value, at) =>
      value ? [(decode(keys[at] ?? '', value) as StoredEvent).event] : [],
    )
  }

  /** Records of the audit log before one, newest first, as far as an index can tell which are meant. */
  async *auditBefore(before: number, read: AuditRead): AsyncGenerator<AuditRecord> {
    const index = auditIndexOf(read)
    if (index === undefined) {
      const range = { gt: 'a!', lt: auditKey(before), reverse: true }
      for await (const [key, value] of this.#db.iterator(range)) yield decode(key, value) as AuditRecord
      return
    }
    const range = { gt: index, lt: index + numbered(before), reverse: true }
    for await (const key of this.#db.keys(range)) {
      const name = auditKey(seqOf(key))
      const value = await this.#db.get(name)
      if (value) yield decode(name, value) as AuditRecord
    }
  }

  /** Records of the audit log after one and up to another, in order. */
  async *auditAfter(after: number, upTo: number): AsyncGenerator<AuditRecord> {
    const range = { gt: auditKey(after), lte: auditKey(upTo) }
    for await (const [key, value] of this.#db.iterator(range)) yield decode(key, value) as AuditRecord
  }

  /** Every event up to an entry, in order, for a snapshot. */
  async *allEvents(upToIndex: number): AsyncGenerator<StoredEvent> {
    const end = `e!${String(upToIndex + 1).padStart(14, '0')}`
    for await (const [key, value] of this.#db.iterator({ gt: 'e!', lt: end }))
      yield decode(key, value) as StoredEvent
  }

  clear(): Promise<void> {
    this.#sums.clear()
    this.#staged = new Map()
    this.#digest = 0
    this.#sessionSum = 0
    return this.#db.clear()
  }

  #countRow(key: string, value: Buffer | undefined): void {
    this.#digest = (this.#digest + this.#changeOf(key, value)) % modulus
  }

  #countSession(key: string, value: Buffer | undefined): void {
    this.#sessionSum = (this.#sessionSum + this.#changeOf(key, value)) % modulus
  }

  /** By how much a sum grows, never below 0. */
  #changeOf(key: string, value: Buffer | undefined): number {
    const before = this.#sums.get(key) ?? 0
    const sum = value ? sumOf(key, value) : 0
    if (value) this.#sums.set(key, sum)
    else this.#sums.delete(key)
    return sum - before + modulus
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}

/** A database whose creation was cut off has neither tables nor a log yet, and is made anew. */
async function hasData(dir: string): Promise<boolean> {
  const names = await readdir(dir).catch((e: unknown) => {
    if ((e as { code?: unknown }).code === 'ENOENT') return []
    throw e
  })
  return names.some((name) => name === 'CURRENT' || name.endsWith('.log') || name.endsWith('.ldb'))
}

const sumOf = (key: string, value: Buffer) => crc32(value, crc32(key))

/** The digest of these rows, as `StateDb` keeps it. */
export async function digestOf(
  rows: AsyncIterable<{ readonly table: string; readonly key: string; readonly row: object }>,
): Promise<number> {
  let digest = 0
  for await (const { table, key, row } of rows) {
    const name = `r!${table}!${key}`
    digest = (digest + sumOf(name, encode(row))) % modulus
  }
  return digest
}

/** Value = CRC-32 (4 bytes, big-endian) of the bytes after it. */
function encodeBytes(bytes: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(bytes.length + 4)
  out.writeUInt32BE(crc32(bytes), 0)
  out.set(bytes, 4)
  return out
}

function decodeBytes(key: string, value: Buffer): Buffer {
  const bytes = value.subarray(4)
  if (value.length < 4 || value.readUInt32BE(0) !== crc32(bytes))
    throw new StateDamaged(`the record ${key} of the state database is damaged`)
  return bytes
}

const encode = (value: unknown) => encodeBytes(Buffer.from(JSON.stringify(value)))
const decode = (key: string, value: Buffer): unknown => JSON.parse(decodeBytes(key, value).toString())
const messageOf = (cause: unknown) => {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return inner instanceof Error ? inner.message : String(inner)
}
