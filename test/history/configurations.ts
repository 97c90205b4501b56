/**
 * The set of (operations in order so far, state) that a search has tried (Lowe's memo). Exact: words are compared, not
 * only hashes, because a collision would cut off the one good order. In typed arrays, since a Set ends at 2^24 members.
 */
export class Configurations {
  readonly #maxBytes: number
  /** Entry after entry: hash, length, words. */
  #words = new Uint32Array(1 << 10)
  #used = 0
  /** Open addressing: where an entry starts, plus one; 0 is free. */
  #slots = new Uint32Array(1 << 8)
  #size = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get size(): number {
    return this.#size
  }

  /** `full`: it was not in, and there is no room to remember it. */
  add(key: Uint32Array, length: number): 'added' | 'known' | 'full' {
    const hash = hashOf(key, length)
    let slot = hash & (this.#slots.length - 1)
    for (let at = this.#slots[slot]; at; at = this.#slots[slot]) {
      if (this.#isAt(at - 1, hash, key, length)) return 'known'
      slot = (slot + 1) & (this.#slots.length - 1)
    }
    if (!this.#makeRoom(length + 2)) return 'full'
    if (this.#size * 2 >= this.#slots.length) {
      if (!this.#rehash()) return 'full'
      slot = this.#freeSlot(hash)
    }
    this.#slots[slot] = this.#used + 1
    this.#words[this.#used] = hash
    this.#words[this.#used + 1] = length
    for (let i = 0; i < length; i++) this.#words[this.#used + 2 + i] = key[i] as number
    this.#used += length + 2
    this.#size++
    return 'added'
  }

  #isAt(start: number, hash: number, key: Uint32Array, length: number): boolean {
    const words = this.#words
    if (words[start] !== hash || words[start + 1] !== length) return false
    for (let i = 0; i < length; i++) if (words[start + 2 + i] !== key[i]) return false
    return true
  }

  #makeRoom(count: number): boolean {
    if (this.#used + count <= this.#words.length) return true
    const next = Math.max(this.#words.length * 2, this.#used + count)
    if ((next + this.#slots.length) * 4 > this.#maxBytes) return false
    const words = new Uint32Array(next)
    words.set(this.#words.subarray(0, this.#used))
    this.#words = words
    return true
  }

  #rehash(): boolean {
    const length = this.#slots.length * 2
    if ((this.#words.length + length) * 4 > this.#maxBytes) return false
    this.#slots = new Uint32Array(length)
    for (let at = 0; at < this.#used; at += 2 + (this.#words[at + 1] as number))
      this.#slots[this.#freeSlot(this.#words[at] as number)] = at + 1
    return true
  }

  #freeSlot(hash: number): number {
    let slot = hash & (this.#slots.length - 1)
    while (this.#slots[slot]) slot = (slot + 1) & (this.#slots.length - 1)
    return slot
  }
}

function hashOf(key: Uint32Array, length: number): number {
  let hash = 0x9e3779b9 ^ length
  for (let i = 0; i < length; i++) {
    hash = Math.imul(hash ^ (key[i] as number), 0x85ebca6b)
    hash ^= hash >>> 15
  }
  hash = Math.imul(hash, 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
