import type { TaskRow } from '../cluster/state.ts'
import type { Workload } from '../cluster/workloads.ts'
import { unlimitedMs } from '../cluster/rules/reserved.ts'
import { endOf } from './gang.ts'

/** When a running task gives back what it holds, at the latest. */
export interface Release {
  readonly task: TaskRow
  readonly workload: Workload
  /** ms; Infinity when it has no time limit. */
  readonly end: number
}

/** What should be over already is about to be. */
const overdueMs = 60_000

/** Every running task in the order in which they end. */
export class Releases {
  readonly #sorted: Release[] = []
  /** Placed and not begun: their time counts from now. */
  readonly #starting = new Map<string, Release>()
  readonly #byTask = new Map<string, Release>()

  set(task: TaskRow, workload: Workload): void {
    this.delete(task.id)
    const release = { task, workload, end: naturalEnd(task, workload) }
    this.#byTask.set(task.id, release)
    if (Number.isNaN(release.end)) this.#starting.set(task.id, release)
    else this.#sorted.splice(this.#placeOf(release), 0, release)
  }

  delete(task: string): void {
    const release = this.#byTask.get(task)
    if (!release) return
    this.#byTask.delete(task)
    if (!this.#starting.delete(task)) this.#sorted.splice(this.#placeOf(release), 1)
  }

  /** In order; `certain` is false from the first on that has no limit. */
  *from(now: number): Generator<{ task: TaskRow; at: number; certain: boolean }> {
    const starting = [...this.#starting.values()]
      .map(({ task, workload }) => ({ task, end: endOf(workload, now) }))
      .toSorted((a, b) => a.end - b.end || (a.task.id < b.task.id ? -1 : 1))
    let next = 0
    for (const release of this.#sorted) {
      for (let early = starting[next]; early && early.end < release.end; early = starting[++next])
        yield timed(early, now)
      yield timed(release, now)
    }
    for (; next < starting.length; next++) {
      const left = starting[next]
      if (left) yield timed(left, now)
    }
  }

  #placeOf(release: Release): number {
    let [low, high] = [0, this.#sorted.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.#sorted[middle]
      const isBefore =
        other && (other.end < release.end || (other.end === release.end && other.task.id < release.task.id))
      if (isBefore) low = middle + 1
      else high = middle
    }
    return low
  }
}

function timed({ task, end }: { task: TaskRow; end: number }, now: number) {
  const certain = end !== Infinity
  return { task, at: certain ? Math.max(end, now + (end < now ? overdueMs : 0)) : now + unlimitedMs, certain }
}

function naturalEnd(task: TaskRow, workload: Workload): number {
  if (task.evict) return Date.parse(task.evict.at) + (task.evict.grace_seconds + 10) * 1000
  return task.started_at === null ? NaN : endOf(workload, Date.parse(task.started_at))
}
