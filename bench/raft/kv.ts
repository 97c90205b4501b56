import { Level } from 'level'
import type { Applied, SessionRow, StateMachine } from '../../raft/index.ts'
import { decodePut } from './protocol.ts'

type Db = Level<string, Buffer>

const APPLIED = 'applied'
const SESSION = 's!'
const KEY = 'k!'
const EMPTY = new Uint8Array(0)
const CHUNK = 64 << 10

/** A key-value state machine as the agent's: values in memory, LevelDB as their durable copy, unsynced. */
export class KeyValueMachine implements StateMachine {
  readonly #db: Db
  #applied: number
  #values: Map<string, Buffer>
  /** What was written while an image of `#values` is being read; undefined when none is. */
  #overlay: Map<string, Buffer> | undefined
  #dirty = new Map<string, Buffer>()
  readonly #rows: readonly SessionRow[]

  private constructor(db: Db, applied: number, values: Map<string, Buffer>, rows: readonly SessionRow[]) {
    this.#db = db
    this.#applied = applied
    this.#values = values
    this.#rows = rows
  }

  static async open(dir: string): Promise<KeyValueMachine> {
    const db: Db = new Level(dir, { valueEncoding: 'buffer', compression: false, writeBufferSize: 16 << 20 })
    await db.open()
    const applied = Number((await db.get(APPLIED))?.toString() ?? 0)
    const values = new Map<string, Buffer>()
    const rows: SessionRow[] = []
    for await (const [key, value] of db.iterator({ gte: KEY, lt: 'l' })) values.set(key.slice(2), value)
    for await (const [key, value] of db.iterator({ gte: SESSION, lt: 't' }))
      rows.push({ key: key.slice(2), value })
    return new KeyValueMachine(db, applied, values, rows)
  }

  get applied(): number {
    return this.#applied
  }
  get keys(): number {
    return this.#values.size
  }

  get(key: string): Buffer | undefined {
    return this.#overlay?.get(key) ?? this.#values.get(key)
  }

  async sessions(): Promise<readonly SessionRow[]> {
    return this.#rows
  }

  apply({ index, data }: Applied): Uint8Array {
    const { key, value } = decodePut(data)
    // A copy: the command shares memory with the message it came in, which would stay as long as the value.
    const own = Buffer.from(value)
    ;(this.#overlay ?? this.#values).set(key, own)
    this.#dirty.set(key, own)
    this.#applied = index
    return EMPTY
  }

  async flush(applied: number, rows: readonly SessionRow[], sync: boolean): Promise<void> {
    // Chained: half the cost of an array of operations.
    const batch = this.#db.batch().put(APPLIED, Buffer.from(String(applied)))
    for (const [key, value] of this.#dirty) batch.put(KEY + key, value)
    for (const { key, value } of rows)
      if (value) batch.put(SESSION + key, value as Buffer)
      else batch.del(SESSION + key)
    this.#dirty = new Map()
    await batch.write({ sync })
  }

  snapshot(): { index: number; data: AsyncIterable<Uint8Array> } {
    this.#endImage()
    this.#overlay = new Map()
    return { index: this.#applied, data: this.#image(this.#values) }
  }

  /** Puts as they were written, each with its length. */
  async *#image(values: ReadonlyMap<string, Buffer>): AsyncIterable<Uint8Array> {
    let chunk = Buffer.allocUnsafe(2 * CHUNK)
    let at = 0
    for (const [key, value] of values) {
      const length = 1 + key.length + value.length
      if (at + 4 + length > chunk.length) {
        yield chunk.subarray(0, at)
        chunk = Buffer.allocUnsafe(Math.max(2 * CHUNK, 4 + length))
        at = 0
      }
      at = chunk.writeUInt32LE(length, at)
      chunk[at++] = key.length
      at += chunk.write(key, at, 'latin1')
      at += value.copy(chunk, at)
    }
    if (at > 0) yield chunk.subarray(0, at)
    this.#endImage()
  }

  #endImage(): void {
    const overlay = this.#overlay
    this.#overlay = undefined
    for (const [key, value] of overlay ?? []) this.#values.set(key, value)
  }

  async restore(index: number, rows: readonly SessionRow[], data: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#db.clear()
    this.#overlay = undefined
    this.#values = new Map()
    this.#dirty = new Map()
    let rest: Buffer = Buffer.alloc(0)
    for await (const chunk of data) {
      rest = this.#restorePuts(rest.length > 0 ? Buffer.concat([rest, chunk]) : Buffer.from(chunk))
      if (this.#dirty.size >= 1000) await this.flush(0, [], false)
    }
    this.#applied = index
    await this.flush(index, rows, true)
  }

  /** Takes whole puts; returns what is left over. */
  #restorePuts(data: Buffer): Buffer {
    let at = 0
    while (data.length - at >= 4) {
      const end = at + 4 + data.readUInt32LE(at)
      if (end > data.length) break
      const { key, value } = decodePut(data.subarray(at + 4, end))
      const own = Buffer.from(value)
      this.#values.set(key, own)
      this.#dirty.set(key, own)
      at = end
    }
    return data.subarray(at)
  }
}
