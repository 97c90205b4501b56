import type { State, TaskRow } from '../cluster/state.ts'
import { rankOf } from './lanes.ts'
import type { Take } from './board.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { Gang } from './gang.ts'
import { type Hold, within } from './holds.ts'
import { type Bounds, type PlaceContext, placeGang } from './place.ts'
import type { Calendar } from './reservations.ts'
import { RoomWatch } from './room-watch.ts'
import type { Bound, Site } from './site.ts'
import { workloadOf } from '../cluster/workloads.ts'

/** What stands in a gang's way beside those who run. */
export interface Kept {
  /** Room that is kept for others. */
  readonly bounds: Bounds
  readonly calendar: Calendar
}

/**
 * The earliest time at which the gang finds room if everything ends at its limit and nothing else begins, and the room
 * it finds: kept for it from then on. undefined when it never does.
 */
export function* keepFor(
  context: PlaceContext,
  index: ClusterIndex,
  gang: Gang,
  kept: Kept,
  now: number,
): Generator<void, Hold | undefined, void> {
  const { board } = index
  const mark = board.mark()
  const ended: TaskRow[] = []
  const found = yield* firstRoom(context, index, gang, kept, now, ended)
  const hold = found && holdOf(gang, found)
  for (const take of found?.takes.toReversed() ?? []) board.giveBack(take)
  for (const [at, task] of ended.toReversed().entries()) {
    board.pretend(task, -1)
    if (at % 128 === 127) yield
  }
  board.rewind(mark)
  return hold
}

interface When {
  readonly at: number
  readonly certain: boolean
}
interface Found extends When {
  readonly takes: readonly Take[]
}

/** So often what is reserved is asked about node by node, which takes time. */
const mostAsked = 16

/** Ends one running task after the other on the board until the gang is on it. */
function* firstRoom(
  context: PlaceContext,
  { board, releases }: ClusterIndex,
  gang: Gang,
  { bounds, calendar }: Kept,
  now: number,
  ended: TaskRow[],
): Generator<void, Found | undefined, void> {
  const { workload } = gang
  const room = new RoomWatch(board, gang, bounds)
  let asked = 0
  const attempt = ({ at }: When): Take[] | undefined => {
    if (!room.hasRoom()) return undefined
    const away = calendar.awayFrom(workload, at)
    const takes = placeGang(context, gang, within(bounds, away))
    if (takes || !away.size || asked++ >= mostAsked) return takes
    const gone = new Set(ended.map(({ id }) => id))
    return placeGang(context, gang, within(bounds, calendar.boundsAt(workload, at, gone)))
  }
  let last: When | undefined
  for (const { task, at, certain } of endings(releases.from(now), calendar.endsAgainst(workload))) {
    // All that ends together ends before anything is tried.
    if (last && at > last.at) {
      const takes = attempt(last)
      if (takes) return { takes, ...last }
    }
    if (task) {
      board.pretend(task, 1)
      const site = board.site(task.node ?? '')
      if (site) room.changed(site)
      ended.push(task)
    }
    last = { at, certain: certain && (last?.certain ?? true) }
    if (ended.length % 128 === 0) yield
  }
  const takes = last && attempt(last)
  return takes && last && { takes, ...last }
}

/** What gives back what it holds, and reservations that end, in order. */
function* endings(
  releases: Iterable<When & { readonly task: TaskRow }>,
  reservations: readonly number[],
): Generator<When & { readonly task?: TaskRow }> {
  let next = 0
  for (const release of releases) {
    for (let at = reservations[next]; at !== undefined && at < release.at; at = reservations[++next])
      yield { at, certain: true }
    yield release
  }
  for (const at of reservations.slice(next)) yield { at, certain: true }
}

/** Made while the board stands as it will then, with the gang on it: what is left beside it is to spare. */
function holdOf(gang: Gang, { takes, at, certain }: Found): Hold {
  const owner = gang.workload
  return {
    owner,
    kind: 'ahead',
    at,
    certain,
    isFor: (workload) => workload.id === owner.id,
    kept: keptOf(takes),
  }
}

export function keptOf(takes: readonly Take[]): Map<number, Bound> {
  const kept = new Map<number, Bound>()
  for (const { site, gpus } of takes) {
    const without = new Set([...(kept.get(site.index)?.without ?? []), ...gpus])
    kept.set(site.index, { ...restOf(site), without })
  }
  return kept
}

const restOf = ({ cpu, memory, disk, gpu }: Site) => ({ cpu, memory, disk, gpu })

/** What others were made to leave for somebody is kept for it: `apply` refuses it to its class and below. */
export function nominationHolds(index: ClusterIndex, state: State, now: number): Hold[] {
  const holds: Hold[] = []
  for (const id of [...index.nominated].toSorted()) {
    const nominated = state.experiments.get(id)?.nominated
    const workload = workloadOf(state, id)
    if (!nominated || !workload || Date.parse(nominated.until) <= now) continue
    const kept = new Map<number, Bound>()
    for (const { node, gpus, resources } of nominated.places) {
      const site = index.board.site(node)
      if (!site) continue
      const left = kept.get(site.index) ?? afterLeaving(site)
      kept.set(site.index, {
        cpu: left.cpu - Math.round(resources.cpu * 1000),
        memory: left.memory - resources.memory,
        disk: left.disk - resources.disk,
        gpu: left.gpu - resources.gpu,
        without: new Set([...left.without, ...gpus]),
      })
    }
    const rank = rankOf(workload)
    const isFor: Hold['isFor'] = (other) => other.id === id || rankOf(other) > rank
    holds.push({ owner: workload, kind: 'nominated', at: now, certain: true, isFor, kept })
  }
  return holds
}

/** What a site has when those who were asked to leave have left. */
function afterLeaving(site: Site): Bound {
  const left = { ...restOf(site), without: new Set<string>() }
  for (const { evict, resources } of site.holders.values()) {
    if (!evict) continue
    left.cpu += Math.round(resources.cpu * 1000)
    left.memory += resources.memory
    left.disk += resources.disk
    left.gpu += resources.gpu
  }
  return left
}
