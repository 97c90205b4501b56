/** PCG32: small, seedable, good enough. Separate streams per concern, so that adding a fault does not shift the others. */
export class Rng {
  #state: bigint
  readonly #stream: bigint

  constructor(seed: number, stream = 1) {
    this.#stream = (BigInt(stream) << 1n) | 1n
    this.#state = 0n
    this.#next()
    this.#state += BigInt(seed)
    this.#next()
  }

  #next(): number {
    const old = this.#state
    this.#state = (old * 6364136223846793005n + this.#stream) & 0xffff_ffff_ffff_ffffn
    const x = Number((((old >> 18n) ^ old) >> 27n) & 0xffff_ffffn)
    const rot = Number(old >> 59n)
    return ((x >>> rot) | (x << (-rot & 31))) >>> 0
  }

  /** In [0, 1). */
  float(): number {
    return this.#next() / 2 ** 32
  }
  /** In [0, n). */
  int(n: number): number {
    return Math.floor(this.float() * n)
  }
  chance(p: number): boolean {
    return this.float() < p
  }
  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)] as T
  }
}
