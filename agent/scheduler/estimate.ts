import type { Explanation } from '../../contract/index.ts'
import type { Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { endOf, type Gang } from './gang.ts'
import type { Entry } from './lanes.ts'
import { hasRoom, placeGang } from './place.ts'
import type { Plan } from './plan.ts'
import type { Surroundings } from './surroundings.ts'

interface Asked {
  readonly plan: Plan
  readonly surroundings: Surroundings
  readonly entry: Entry
  readonly before: readonly Entry[]
}

/** Of longer queues nobody can tell. */
const mostBefore = 500
const mostTries = 3_000

/**
 * When it will begin: from when room is kept for it, or when everything before it was placed in turn as what runs
 * reaches its limit. null when something before it has no limit.
 */
export function* estimate(
  index: ClusterIndex,
  { plan, surroundings, entry, before }: Asked,
): Generator<void, Explanation['expected_start'], void> {
  const { id } = entry.workload
  const hold = plan.holds.find(({ owner, kind }) => owner === id && kind === 'ahead')
  if (hold) return hold.certain ? { at: new Date(hold.at).toISOString(), confidence: 'high' } : null
  if (before.length > mostBefore) return null
  const at = yield* playOut(index, surroundings, [...before, entry])
  return at === null ? null : { at: new Date(at).toISOString(), confidence: 'low' }
}

interface Ending {
  readonly at: number
  readonly certain: boolean
  readonly free: () => void
}

/** Time runs on the board until the last of those waiting is on it; then the board is put back. */
function* playOut(
  index: ClusterIndex,
  { now, images }: Surroundings,
  waiting: readonly Entry[],
): Generator<void, number | null, void> {
  const { board, releases } = index
  const mark = board.mark()
  const undo: (() => void)[] = []
  const last = waiting.at(-1)?.gangs[0]
  let gangs = waiting.flatMap(({ gangs: all }) => all.slice(0, 1))
  const endings: Ending[] = [...releases.from(now)].map(({ task, at, certain }) => ({
    at,
    certain,
    free: () => {
      board.pretend(task, 1)
      undo.push(() => board.pretend(task, -1))
    },
  }))
  const put = (gang: Gang, takes: readonly Take[], at: number) => {
    for (const take of takes) undo.push(() => board.giveBack(take))
    const end = endOf(gang.workload, at)
    const free = () => {
      for (const take of takes) board.giveBack(take)
      undo.push(() => takes.forEach((take) => board.take(take.shape, take.site)))
    }
    insert(endings, { at: end, certain: end !== Infinity, free })
  }
  let tries = 0
  let found: number | null = null
  for (let at = now; found === null && tries < mostTries;) {
    const failed = new Set<string>()
    const left: Gang[] = []
    for (const gang of gangs) {
      const takes =
        !failed.has(gang.family) && ++tries && hasRoom(board, gang)
          ? placeGang({ board, images }, gang)
          : undefined
      if (takes) put(gang, takes, at)
      else {
        failed.add(gang.family)
        left.push(gang)
      }
      if (takes && gang === last) found = at
    }
    gangs = left
    yield
    const next = endings.shift()
    if (!next?.certain) break
    at = Math.max(at, next.at)
    next.free()
    while (endings[0] && endings[0].at <= at) endings.shift()?.free()
  }
  for (const back of undo.reverse()) back()
  board.rewind(mark)
  return found
}

function insert(endings: Ending[], ending: Ending): void {
  const at = endings.findIndex((other) => other.at > ending.at)
  endings.splice(at < 0 ? endings.length : at, 0, ending)
}
