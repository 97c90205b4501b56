import type { MetricSeries } from '../../contract/index.ts'

type Point = MetricSeries['points'][number]
interface Bucket {
  readonly least: Point
  readonly most: Point
  readonly count: number
}

/**
 * Thins a series of unknown length while it is read, in memory for about `limit` points: the first and the last point
 * stay, and of every stretch between them the least and the greatest value, so no peak disappears from a chart.
 */
export class Thinner {
  readonly #limit: number
  /** Everything, as long as it is few enough. */
  #all: Point[] = []
  #buckets: Bucket[] | undefined
  #width = 1
  #first: Point | undefined
  #last: Point | undefined

  constructor(limit: number) {
    this.#limit = limit
  }

  add(point: Point): void {
    this.#first ??= point
    this.#last = point
    if (!this.#buckets) {
      this.#all.push(point)
      if (this.#all.length <= this.#limit) return
      const all = this.#all
      this.#all = []
      this.#buckets = []
      for (const each of all) this.#put(each)
    } else this.#put(point)
  }

  points(): Point[] {
    if (!this.#buckets) return this.#all
    const inner = this.#buckets.flatMap(({ least, most }) => [least, most])
    const kept = [this.#first, ...inner, this.#last].filter((point) => point !== undefined)
    // One point may be first, least and last at once.
    return [...new Set(kept)]
  }

  #put(point: Point): void {
    const room = Math.floor((this.#limit - 2) / 2)
    if (room === 0) return
    const isOpen = (bucket: Bucket | undefined) => bucket !== undefined && bucket.count < this.#width
    let buckets = this.#buckets ?? []
    if (!isOpen(buckets.at(-1)) && buckets.length >= room) {
      this.#width *= 2
      buckets = halved(buckets)
    }
    const one = { least: point, most: point, count: 1 }
    const last = buckets.at(-1)
    if (last && isOpen(last)) buckets[buckets.length - 1] = join(last, one)
    else buckets.push(one)
    this.#buckets = buckets
  }
}

function halved(buckets: readonly Bucket[]): Bucket[] {
  const joined: Bucket[] = []
  for (let at = 0; at < buckets.length; at += 2) {
    const [a, b] = [buckets[at], buckets[at + 1]]
    if (a) joined.push(b ? join(a, b) : a)
  }
  return joined
}

/** Least and greatest in the order they came. A NaN yields to any number. */
function join(a: Bucket, b: Bucket): Bucket {
  const points = [a.least, a.most, b.least, b.most]
  const numbers = points.filter((point) => !Number.isNaN(Number(point[1])))
  const from = numbers.length ? numbers : points
  const low = from.reduce((least, point) => (Number(point[1]) < Number(least[1]) ? point : least))
  const high = from.reduce((most, point) => (Number(point[1]) > Number(most[1]) ? point : most))
  const [least, most] = points.indexOf(low) <= points.indexOf(high) ? [low, high] : [high, low]
  return { least, most, count: a.count + b.count }
}
