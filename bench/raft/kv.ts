import { Level } from 'level'
import type { Applied, SessionRow, StateMachine } from '../../raft/index.ts'
import { decodePut, keyOf } from './protocol.ts'

type Db = Level<string, Buffer>

const APPLIED = 'applied'
const SESSION = 's!'
const KEY = 'k!'
const EMPTY = new Uint8Array(0)
const CHUNK = 256 << 10

// Rows are small, read at open only, and each is written again and again: larger blocks and more of them merged in memory.
const LEVEL_OPTIONS = {
  valueEncoding: 'buffer',
  compression: false,
  writeBufferSize: 32 << 20,
  blockSize: 64 << 10,
} as const

/** One key. */
interface Cell {
  /** Its key in LevelDB. */
  readonly row: string
  /** As it came. Overwritten in place where an image does not need it: most of what lives would be garbage otherwise. */
  put: Buffer
  /** The image during which it last was replaced, and what that image shows; undefined for a key that it does not have. */
  replacedIn: number
  before: Buffer | undefined
  /** Not flushed yet. */
  dirty: boolean
}

/** A key-value state machine as the agent's: values in memory, LevelDB as their durable copy, unsynced. */
export class KeyValueMachine implements StateMachine {
  readonly #db: Db
  #applied: number
  #cells = new Map<string, Cell>()
  #dirty: Cell[] = []
  /** The number of the last image, and whether it is still being read. */
  #image = 0
  #reading = false
  /** What was replaced meanwhile. */
  #replaced: Cell[] = []
  readonly #rows: readonly SessionRow[]

  private constructor(db: Db, applied: number, rows: readonly SessionRow[]) {
    this.#db = db
    this.#applied = applied
    this.#rows = rows
  }

  static async open(dir: string): Promise<KeyValueMachine> {
    const db: Db = new Level(dir, LEVEL_OPTIONS)
    await db.open()
    const applied = Number((await db.get(APPLIED))?.toString() ?? 0)
    const rows: SessionRow[] = []
    for await (const [key, value] of db.iterator({ gte: SESSION, lt: 't' }))
      rows.push({ key: key.slice(2), value })
    const machine = new KeyValueMachine(db, applied, rows)
    for await (const [, put] of db.iterator({ gte: KEY, lt: 'l' })) machine.#put(put)
    machine.#takeDirty()
    return machine
  }

  get applied(): number {
    return this.#applied
  }
  get keys(): number {
    return this.#cells.size
  }

  get(key: string): Uint8Array | undefined {
    const cell = this.#cells.get(key)
    return cell && decodePut(cell.put).value
  }

  async sessions(): Promise<readonly SessionRow[]> {
    return this.#rows
  }

  apply({ index, data }: Applied): Uint8Array {
    this.#put(data)
    this.#applied = index
    return EMPTY
  }

  /** Copies it: the command shares memory with the message it came in, which would stay as long as the value. */
  #put(put: Uint8Array): void {
    const key = keyOf(put)
    let cell = this.#cells.get(key)
    if (!cell) {
      cell = {
        row: KEY + key,
        put: Buffer.from(put),
        replacedIn: this.#image,
        before: undefined,
        dirty: false,
      }
      this.#cells.set(key, cell)
    } else if (this.#reading && cell.replacedIn !== this.#image) {
      cell.before = cell.put
      cell.replacedIn = this.#image
      this.#replaced.push(cell)
      cell.put = Buffer.from(put)
    } else if (cell.put.length === put.length) cell.put.set(put)
    else cell.put = Buffer.from(put)
    if (cell.dirty) return
    cell.dirty = true
    this.#dirty.push(cell)
  }

  async flush(applied: number, rows: readonly SessionRow[], sync: boolean): Promise<void> {
    // Chained: half the cost of an array of operations.
    const batch = this.#db.batch().put(APPLIED, Buffer.from(String(applied)))
    for (const { row, put } of this.#takeDirty()) batch.put(row, put)
    for (const { key, value } of rows)
      if (value) batch.put(SESSION + key, value as Buffer)
      else batch.del(SESSION + key)
    await batch.write({ sync })
  }

  #takeDirty(): readonly Cell[] {
    const cells = this.#dirty
    this.#dirty = []
    for (const cell of cells) cell.dirty = false
    return cells
  }

  snapshot(): { index: number; data: AsyncIterable<Uint8Array> } {
    this.#endImage()
    this.#image++
    this.#reading = true
    return { index: this.#applied, data: this.#readImage(this.#image) }
  }

  /** Puts as they came, each with its length. */
  async *#readImage(image: number): AsyncIterable<Uint8Array> {
    let chunk = Buffer.allocUnsafe(CHUNK)
    let at = 0
    for (const cell of this.#cells.values()) {
      const put = cell.replacedIn === image ? cell.before : cell.put
      if (!put) continue
      if (at + 4 + put.length > chunk.length) {
        yield chunk.subarray(0, at)
        if (image !== this.#image) throw new Error('a newer image was begun')
        chunk = Buffer.allocUnsafe(Math.max(CHUNK, 4 + put.length))
        at = 0
      }
      at = chunk.writeUInt32LE(put.length, at)
      chunk.set(put, at)
      at += put.length
    }
    if (at > 0) yield chunk.subarray(0, at)
    this.#endImage()
  }

  #endImage(): void {
    for (const cell of this.#replaced) cell.before = undefined
    this.#replaced = []
    this.#reading = false
  }

  async restore(index: number, rows: readonly SessionRow[], data: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#db.clear()
    this.#endImage()
    this.#image++
    this.#cells = new Map()
    this.#dirty = []
    let rest: Buffer = Buffer.alloc(0)
    for await (const chunk of data) {
      rest = this.#restorePuts(rest.length > 0 ? Buffer.concat([rest, chunk]) : Buffer.from(chunk))
      if (this.#dirty.length >= 1000) await this.flush(0, [], false)
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
      this.#put(data.subarray(at + 4, end))
      at = end
    }
    return data.subarray(at)
  }
}
