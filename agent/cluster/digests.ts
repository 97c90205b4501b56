const kept = 16_384

/** Digests of the state after the last entries, so that replicas can be compared at the same one. */
export class DigestHistory {
  readonly #indexes = new Float64Array(kept)
  readonly #digests = new Float64Array(kept)
  #count = 0

  constructor(index: number, digest: number) {
    this.push(index, digest)
  }

  /** Indexes rise; entries that change nothing may be left out. */
  push(index: number, digest: number): void {
    const slot = this.#count++ % kept
    this.#indexes[slot] = index
    this.#digests[slot] = digest
  }

  /** After `index` or the last entry before it; undefined when that is not kept any more. */
  at(index: number): number | undefined {
    for (let back = 1; back <= Math.min(this.#count, kept); back++) {
      const slot = (this.#count - back) % kept
      if ((this.#indexes[slot] ?? 0) <= index) return this.#digests[slot]
    }
    return undefined
  }
}
