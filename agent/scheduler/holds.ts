import type { Take } from './board.ts'
import { type Bounds, less, noBounds } from './place.ts'
import type { Workload } from '../cluster/workloads.ts'
import type { Bound } from './site.ts'

/** Room that is kept for somebody from some time on. */
export interface Hold {
  /** It is kept for this one. */
  readonly owner: Workload
  readonly kind: 'ahead' | 'nominated'
  /** From when, ms: whoever is gone by then may use the room until then. */
  readonly at: number
  /** Known from time limits; otherwise something before it has none. */
  readonly certain: boolean
  readonly isFor: (workload: Workload) => boolean
  /** By the site's index: what may be used of it beyond that time. Grows smaller as others take of it. */
  readonly kept: Map<number, Bound>
}

/** What is left for a workload that ends at `end`, site by site. */
export function boundsFor(holds: readonly Hold[], workload: Workload, end: number): Bounds {
  const applying = holds.filter((hold) => end > hold.at && !hold.isFor(workload))
  if (!applying.length) return noBounds
  return applying.map(({ kept }) => kept as Bounds).reduce(within)
}

/** What both allow. */
export function within(a: Bounds, b: Bounds): Bounds {
  if (!a.size || !b.size) return a.size ? a : b
  const bounds = new Map(a)
  for (const [index, bound] of b) {
    const other = bounds.get(index)
    bounds.set(index, other ? both(other, bound) : bound)
  }
  return bounds
}

const both = (a: Bound, b: Bound): Bound => ({
  cpu: Math.min(a.cpu, b.cpu),
  memory: Math.min(a.memory, b.memory),
  disk: Math.min(a.disk, b.disk),
  gpu: Math.min(a.gpu, b.gpu),
  without: new Set([...a.without, ...b.without]),
})

/** What was placed beyond the time of a hold is no longer to spare for others. */
export function charge(
  holds: readonly Hold[],
  workload: Workload,
  end: number,
  takes: readonly Take[],
): void {
  for (const hold of holds) {
    if (end <= hold.at || hold.isFor(workload)) continue
    for (const { site, shape } of takes) {
      const bound = hold.kept.get(site.index)
      if (bound) hold.kept.set(site.index, less(bound, shape))
    }
  }
}
