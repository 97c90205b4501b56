/**
 * Values numbered as they are added, found by number, taken out mostly in that order. A Map would do, were its oldest
 * key not found by walking over all that were deleted before it.
 */
export class Window<T> {
  #items: (T | undefined)[] = []
  /** The number of #items[0]. */
  #base: number
  /** Nothing is left before #items[#head]. */
  #head = 0
  #size = 0

  constructor(first: number) {
    this.#base = first
  }

  get size(): number {
    return this.#size
  }
  /** The number that the next value gets. */
  get next(): number {
    return this.#base + this.#items.length
  }
  /** The smallest number that is there; `next` when none is. */
  get first(): number {
    return this.#base + this.#head
  }

  add(value: T): number {
    this.#size++
    return this.#base + this.#items.push(value) - 1
  }

  get(n: number): T | undefined {
    return this.#items[n - this.#base]
  }

  take(n: number): T | undefined {
    const at = n - this.#base
    const value = this.#items[at]
    if (value === undefined) return undefined
    this.#items[at] = undefined
    this.#size--
    while (this.#head < this.#items.length && this.#items[this.#head] === undefined) this.#head++
    this.#trim()
    return value
  }

  /** Values may be taken out meanwhile; those added meanwhile come too. */
  each(f: (value: T) => void): void {
    for (let n = this.first; n < this.next; n++) {
      const value = this.get(n)
      if (value !== undefined) f(value)
    }
  }

  /** Moves what is left to the front when at least half is gone, so each value moves once on average. */
  #trim(): void {
    if (this.#head < 256 || this.#head * 2 < this.#items.length) return
    this.#items = this.#items.slice(this.#head)
    this.#base += this.#head
    this.#head = 0
  }
}
