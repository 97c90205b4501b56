import type { Explanation } from '../../contract/index.ts'
import type { State } from '../cluster/state.ts'
import type { Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { endOf, type Gang } from './gang.ts'
import type { Entry } from './lanes.ts'
import { hasRoom, placeGang } from './place.ts'
import type { Plan } from './plan.ts'
import { Calendar } from './reservations.ts'
import type { Surroundings } from './surroundings.ts'

interface Asked {
  readonly state: State
  readonly plan: Plan
  readonly surroundings: Surroundings
  readonly entry: Entry
  readonly before: readonly Entry[]
}

/** Of longer queues nobody can tell. */
const mostBefore = 500
const mostTries = 3_000
/** So often what is reserved is asked about node by node. */
const mostAsked = 16

/**
 * When it will begin: from when room is kept for it, or when everything before it was placed in turn as what runs
 * reaches its limit. null when something before it has no limit.
 */
export function* estimate(
  index: ClusterIndex,
  { state, plan, surroundings, entry, before }: Asked,
): Generator<void, Explanation['expected_start'], void> {
  const { id } = entry.workload
  const hold = plan.holds.find(({ owner, kind }) => owner.id === id && kind === 'ahead')
  if (hold) return hold.certain ? { at: new Date(hold.at).toISOString(), confidence: 'high' } : null
  if (before.length > mostBefore) return null
  const calendar = new Calendar(state, index.board, index.calendar, surroundings.now)
  const at = yield* playOut(index, surroundings, calendar, [...before, entry])
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
  calendar: Calendar,
  waiting: readonly Entry[],
): Generator<void, number | null, void> {
  const { board, releases } = index
  const mark = board.mark()
  const ended = new Set<string>()
  const undo: (() => void)[] = []
  const last = waiting.at(-1)?.gangs[0]
  let gangs = waiting.flatMap(({ gangs: all }) => all.slice(0, 1))
  const endings: Ending[] = [...releases.from(now)].map(({ task, at, certain }) => ({
    at,
    certain,
    free: () => {
      board.pretend(task, 1)
      ended.add(task.id)
      undo.push(() => board.pretend(task, -1))
    },
  }))
  for (const at of last ? calendar.endsAgainst(last.workload) : [])
    insert(endings, { at, certain: true, free: () => undefined })
  let asked = 0
  const place = (gang: Gang, at: number) => {
    const away = calendar.awayFrom(gang.workload, at)
    const takes = placeGang({ board, images }, gang, away)
    if (takes || !away.size || gang !== last || asked++ >= mostAsked) return takes
    return placeGang({ board, images }, gang, calendar.boundsAt(gang.workload, at, ended))
  }
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
        !failed.has(gang === last ? '' : gang.family) && ++tries && hasRoom(board, gang)
          ? place(gang, at)
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
