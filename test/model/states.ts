/** Gives equal things the same small number. */
export class Numbering<T> {
  readonly #numbers = new Map<string, number>()
  readonly items: T[] = []

  of(key: string, item: () => T): number {
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    this.#numbers.set(key, this.items.length)
    this.items.push(item())
    return this.items.length - 1
  }
  at(n: number): T {
    return this.items[n] as T
  }
  get size(): number {
    return this.items.length
  }
}

const CHUNK = 1 << 16

/**
 * A set of rows of numbers, each with the row it was first reached from. Rows lie in typed arrays, found by a hash
 * table of row numbers and compared in full, so the count of distinct states is exact.
 */
export class StateSet {
  readonly #width: number
  readonly #limit: number
  #chunks: Int32Array[] = []
  #table = new Int32Array(1 << 16)
  size = 0

  /** Rows of `width` numbers; two more are kept beside them: the row before, and how it was left. */
  constructor(width: number, limit: number) {
    this.#width = width
    this.#limit = limit
  }

  get full(): boolean {
    return this.size >= this.#limit
  }

  /** True if the row was not there. */
  add(row: Int32Array, from: number, by: number): boolean {
    if (this.size * 2 >= this.#table.length) this.#grow()
    const mask = this.#table.length - 1
    let slot = hash(row, this.#width) & mask
    for (;;) {
      const found = (this.#table[slot] as number) - 1
      if (found < 0) break
      if (this.#equal(found, row)) return false
      slot = (slot + 1) & mask
    }
    this.#table[slot] = this.size + 1
    this.#put(row, from, by)
    return true
  }

  read(n: number, row: Int32Array): void {
    const chunk = this.#chunks[Math.floor(n / CHUNK)] as Int32Array
    const at = (n % CHUNK) * (this.#width + 2)
    for (let i = 0; i < this.#width; i++) row[i] = chunk[at + i] as number
  }

  /** The row from which this one was reached (-1 for the first), and the event that led here. */
  origin(n: number): { from: number; by: number } {
    const chunk = this.#chunks[Math.floor(n / CHUNK)] as Int32Array
    const at = (n % CHUNK) * (this.#width + 2) + this.#width
    return { from: chunk[at] as number, by: chunk[at + 1] as number }
  }

  #put(row: Int32Array, from: number, by: number): void {
    if (this.size % CHUNK === 0) this.#chunks.push(new Int32Array(CHUNK * (this.#width + 2)))
    const chunk = this.#chunks.at(-1) as Int32Array
    const at = (this.size % CHUNK) * (this.#width + 2)
    for (let i = 0; i < this.#width; i++) chunk[at + i] = row[i] as number
    chunk[at + this.#width] = from
    chunk[at + this.#width + 1] = by
    this.size++
  }

  #equal(n: number, row: Int32Array): boolean {
    const chunk = this.#chunks[Math.floor(n / CHUNK)] as Int32Array
    const at = (n % CHUNK) * (this.#width + 2)
    for (let i = 0; i < this.#width; i++) if (chunk[at + i] !== row[i]) return false
    return true
  }

  #grow(): void {
    this.#table = new Int32Array(this.#table.length * 4)
    const mask = this.#table.length - 1
    const row = new Int32Array(this.#width)
    for (let n = 0; n < this.size; n++) {
      this.read(n, row)
      let slot = hash(row, this.#width) & mask
      while (this.#table[slot] !== 0) slot = (slot + 1) & mask
      this.#table[slot] = n + 1
    }
  }
}

function hash(row: Int32Array, width: number): number {
  let h = 0x9e3779b9
  for (let i = 0; i < width; i++) {
    h = Math.imul(h ^ (row[i] as number), 0x85ebca6b)
    h = (h ^ (h >>> 15)) | 0
  }
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
