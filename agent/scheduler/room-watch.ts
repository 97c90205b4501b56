import type { Board } from './board.ts'
import type { Gang } from './gang.ts'
import type { Bounds } from './place.ts'
import type { Site } from './site.ts'

/** `hasRoom` for one gang while sites change one by one: what is kept of the others is not counted again. */
export class RoomWatch {
  readonly #board: Board
  readonly #gang: Gang
  readonly #bounds: Bounds
  /** By bounded site: how many tasks of each part it takes less than it could. */
  readonly #short = new Map<number, number[]>()
  readonly #sums: number[]

  constructor(board: Board, gang: Gang, bounds: Bounds) {
    this.#board = board
    this.#gang = gang
    this.#bounds = bounds
    this.#sums = gang.parts.map(() => 0)
    for (const index of bounds.keys()) {
      const site = board.sites[index]
      if (site) this.changed(site)
    }
  }

  changed(site: Site): void {
    const bound = this.#bounds.get(site.index)
    if (!bound) return
    const before = this.#short.get(site.index)
    const now = this.#gang.parts.map(({ shape }) => {
      const most = this.#board.capacity(shape).of[site.index] ?? 0
      return most - this.#board.capacityWithin(shape, site, bound)
    })
    this.#short.set(site.index, now)
    for (const [part, short] of now.entries())
      this.#sums[part] = (this.#sums[part] ?? 0) + short - (before?.[part] ?? 0)
  }

  hasRoom(): boolean {
    return this.#gang.parts.every(
      ({ shape, tasks }, part) => this.#board.capacity(shape).total - (this.#sums[part] ?? 0) >= tasks.length,
    )
  }
}
