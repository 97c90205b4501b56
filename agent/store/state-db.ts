import { Level } from 'level'
import { readdir } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { Event } from '../../contract/index.ts'
import { findLevelDamage } from '../../raft/index.ts'
import { Tables } from '../cluster/image.ts'
import type { State } from '../cluster/state.ts'

/** The state database cannot be trusted: what is wrong and what to do. */
export class StateDamaged extends Error {
  readonly hint =
    'Move this folder away and start the agent again: the state is rebuilt from the snapshot and the log.'
}

/** Everything one flush writes, atomically. */
export interface Flush {
  readonly applied: number
  /** Changed rows by `table!key`; `undefined` deletes. */
  readonly rows: ReadonlyMap<string, object | undefined>
  readonly events: readonly StoredEvent[]
  readonly sessions: readonly { readonly key: string; readonly value: Uint8Array | undefined }[]
  /** Must it, and all before it, survive a power cut? */
  readonly sync: boolean
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
const after = (prefix: string) => ({ gt: prefix, lt: prefix + '\uffff' })

/**
 * The durable copy of the replicated state in LevelDB. Most writes are not synced: after a power loss the raft log,
 * which is, is replayed from the applied index found here. Every row carries a CRC, since LevelDB's own are not checked on read.
 */
export class StateDb {
  readonly #db: Level<string, Buffer>
  /** CRC of each row and session, and their sum, which every batch stores: a batch that LevelDB lost silently shows at the next start. */
  readonly #sums = new Map<string, number>()
  #digest = 0

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
      this.#count(key, value)
    }
    for await (const [key, value] of this.#db.iterator(after('s!'))) this.#count(key, value)
    const mark = await this.#db.get(appliedKey)
    const { applied, digest } = mark ? (decode(appliedKey, mark) as Mark) : { applied: 0, digest: 0 }
    if (digest !== this.#digest)
      throw new StateDamaged('the state database lacks rows that were written to it')
    return { applied, state: tables.state() }
  }

  async sessions(): Promise<{ key: string; value: Uint8Array }[]> {
    const rows: { key: string; value: Uint8Array }[] = []
    for await (const [key, value] of this.#db.iterator(after('s!')))
      rows.push({ key: key.slice(2), value: decodeBytes(key, value) })
    return rows
  }

  async write({ applied, rows, events, sessions, sync }: Flush): Promise<void> {
    const batch = this.#db.batch()
    for (const [rowKey, row] of rows) {
      const key = `r!${rowKey}`
      const value = row && encode(row)
      if (value) batch.put(key, value)
      else batch.del(key)
      this.#count(key, value)
    }
    for (const stored of events) {
      const { event, workload } = stored
      batch.put(`e!${event.id}`, encode(stored))
      for (const subject of new Set([event.subject.id, workload]))
        if (subject) batch.put(`x!${subject}!${event.id}`, encode(event.id))
    }
    for (const session of sessions) {
      const key = `s!${session.key}`
      const value = session.value && encodeBytes(session.value)
      if (value) batch.put(key, value)
      else batch.del(key)
      this.#count(key, value)
    }
    batch.put(appliedKey, encode({ applied, digest: this.#digest } satisfies Mark))
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

  /** Every event up to an entry, in order, for a snapshot. */
  async *allEvents(upToIndex: number): AsyncGenerator<StoredEvent> {
    const end = `e!${String(upToIndex + 1).padStart(14, '0')}`
    for await (const [key, value] of this.#db.iterator({ gt: 'e!', lt: end }))
      yield decode(key, value) as StoredEvent
  }

  clear(): Promise<void> {
    this.#sums.clear()
    this.#digest = 0
    return this.#db.clear()
  }

  #count(key: string, value: Buffer | undefined): void {
    this.#digest -= this.#sums.get(key) ?? 0
    this.#sums.delete(key)
    if (!value) return
    const sum = crc32(value, crc32(key))
    this.#sums.set(key, sum)
    this.#digest += sum
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
