import { meets } from '../cluster/rules/constraints.ts'
import type { Board, Take } from './board.ts'
import { type Gang, gpusOf, type Part } from './gang.ts'
import type { Shape } from './shape.ts'
import type { Bound, Site } from './site.ts'

/** What of each site a gang may use where some of it is kept for others, by the site's index. */
export type Bounds = ReadonlyMap<number, Bound>
export const noBounds: Bounds = new Map()

export interface PlaceContext {
  readonly board: Board
  readonly images: (node: string) => ReadonlySet<string>
}

/** So many ways of spreading its parts over the nodes are tried before a gang counts as one without room. */
const mostTries = 200

/**
 * Every task of the gang put on the board, in the order of `gang.tasks`, or nothing: undefined. The most demanding
 * part goes first; when a later one finds no room, the earlier ones are put elsewhere, up to a bound.
 */
export function placeGang(context: PlaceContext, gang: Gang, bounds: Bounds = noBounds): Take[] | undefined {
  const search: Search = { ...context, gang, bounds: new Map(bounds), tries: mostTries, taken: new Map() }
  if (!hasRoom(context.board, gang, bounds)) return undefined
  if (!placePart(search, 0)) return undefined
  return gang.tasks.map(({ id }) => {
    const take = search.taken.get(id)
    if (!take) throw new Error(`task ${id} of a placed gang has no place`)
    return take
  })
}

/** A quick no: not even each part alone finds room. */
export function hasRoom(board: Board, gang: Gang, bounds: Bounds = noBounds): boolean {
  return gang.parts.every(({ shape, tasks }) => {
    const { of, total } = board.capacity(shape)
    if (total < tasks.length) return false
    let left = total
    for (const [index, bound] of bounds) {
      const site = board.sites[index]
      if (site) left -= (of[index] ?? 0) - board.capacityWithin(shape, site, bound)
      if (left < tasks.length) return false
    }
    return true
  })
}

interface Search extends PlaceContext {
  readonly gang: Gang
  readonly bounds: Map<number, Bound>
  readonly taken: Map<string, Take>
  tries: number
}

/** How many tasks of a part on which site; the first has the lowest ranks. */
type Spread = readonly { readonly site: Site; readonly count: number }[]

function placePart(search: Search, at: number): boolean {
  const part = search.gang.parts[at]
  if (!part) return true
  for (const spread of spreads(search, part)) {
    if (search.tries-- <= 0) return false
    const undo = commit(search, part, spread)
    if (undo && placePart(search, at + 1)) return true
    undo?.()
  }
  return false
}

function commit(search: Search, { shape, tasks }: Part, spread: Spread): (() => void) | undefined {
  const { board, bounds, taken } = search
  const before = new Map(spread.map(({ site }) => [site.index, bounds.get(site.index)]))
  const takes: Take[] = []
  const undo = () => {
    for (const take of takes.toReversed()) board.giveBack(take)
    for (const [index, bound] of before) if (bound) bounds.set(index, bound)
  }
  let next = 0
  for (const { site, count } of spread)
    for (let each = 0; each < count; each++) {
      const bound = bounds.get(site.index)
      const take = board.take(shape, site, bound)
      const task = tasks[next++]
      if (!take || !task) {
        if (take) takes.push(take)
        undo()
        return undefined
      }
      takes.push(take)
      taken.set(task.id, take)
      if (bound) bounds.set(site.index, less(bound, shape))
    }
  return undo
}

export const less = (bound: Bound, shape: Shape): Bound => ({
  cpu: bound.cpu - shape.cpu,
  memory: bound.memory - shape.memory,
  disk: bound.disk - shape.disk,
  gpu: bound.gpu - (shape.need?.share ? 0 : shape.gpu),
  without: bound.without,
})

/** Ways to spread a part, the best first; each further one leaves out a site that an earlier one used. */
function* spreads(search: Search, part: Part): Generator<Spread> {
  const rooms = roomsFor(search, part.shape)
  const best = spreadOver(search, part, rooms)
  if (!best) return
  yield best
  // A part that stands alone is placed exactly by the first.
  if (search.gang.parts.length === 1) return
  for (const { site } of best) {
    const other = spreadOver(search, part, rooms.filter((room) => room.site !== site)) // prettier-ignore
    if (other) yield other
  }
  for (const room of rooms) {
    if (room.count >= part.tasks.length) yield [{ site: room.site, count: part.tasks.length }]
  }
}

interface Room {
  readonly site: Site
  readonly count: number
  readonly score: number
}

function roomsFor(search: Search, shape: Shape): Room[] {
  const { board, bounds } = search
  const { of } = board.capacity(shape)
  const rooms: Room[] = []
  for (let index = 0; index < of.length; index++) {
    const known = of[index] ?? 0
    const site = board.sites[index]
    if (known === 0 || !site) continue
    const bound = bounds.get(index)
    const count = bound ? board.capacityWithin(shape, site, bound) : known
    if (count > 0) rooms.push({ site, count, score: score(search, shape, site) })
  }
  return rooms
}

function spreadOver({ gang }: Search, part: Part, rooms: readonly Room[]): Spread | undefined {
  const total = rooms.reduce((sum, { count }) => sum + count, 0)
  const count = part.tasks.length
  if (total < count) return undefined
  const { placement, even } = gang.workload
  if (count === 1) return [{ site: (placement === 'spread' ? emptiest(rooms) : bestOf(rooms)).site, count }]
  if (even) return evenly(rooms, count, placement === 'spread')
  return placement === 'spread' ? widely(rooms, count) : tightly(rooms, count)
}

/** Fewest nodes; the last one as tight a fit as there is. */
function tightly(rooms: readonly Room[], count: number): Spread | undefined {
  const whole = rooms.filter((room) => room.count >= count)
  if (whole.length) return [{ site: bestOf(whole).site, count }]
  const byRoom = rooms.toSorted((a, b) => b.count - a.count || b.score - a.score)
  const spread: { site: Site; count: number }[] = []
  let left = count
  let at = 0
  for (; at < byRoom.length && left > 0; at++) {
    const rest = byRoom.slice(at)
    const last = rest.filter((room) => room.count >= left)
    const room = last.length ? tightest(last, left) : rest[0]
    if (!room) return undefined
    const part = Math.min(room.count, left)
    spread.push({ site: room.site, count: part })
    left -= part
  }
  return left > 0 ? undefined : inOrder(spread)
}

function tightest(rooms: readonly Room[], count: number): Room | undefined {
  return rooms.toSorted((a, b) => a.count - count - (b.count - count) || b.score - a.score)[0]
}

/** As many on each node that has any: on the fewest nodes that allow it, or the most. */
function evenly(rooms: readonly Room[], count: number, wide: boolean): Spread | undefined {
  const numbers = Array.from({ length: Math.min(count, rooms.length) }, (_, at) => at + 1)
  for (const nodes of wide ? numbers.toReversed() : numbers) {
    if (count % nodes !== 0) continue
    const each = count / nodes
    const able = rooms.filter((room) => room.count >= each)
    if (able.length < nodes) continue
    const chosen = able.toSorted((a, b) => (wide ? b.count - a.count : 0) || b.score - a.score)
    return inOrder(chosen.slice(0, nodes).map(({ site }) => ({ site, count: each })))
  }
  return undefined
}

/** One after the other on the node that has fewest of them, then most room. */
function widely(rooms: readonly Room[], count: number): Spread {
  const order = rooms.toSorted((a, b) => b.count - a.count || b.score - a.score)
  const spread = order.map(({ site }) => ({ site, count: 0 }))
  for (let left = count; left > 0;)
    for (const [at, place] of spread.entries()) {
      if (left === 0) break
      if (place.count >= (order[at]?.count ?? 0)) continue
      place.count++
      left--
    }
  return inOrder(spread.filter((place) => place.count > 0))
}

const inOrder = (spread: { site: Site; count: number }[]): Spread =>
  spread.toSorted((a, b) => b.count - a.count || a.site.index - b.site.index)

function bestOf(rooms: readonly Room[]): Room {
  return rooms.reduce((best, room) => (room.score > best.score ? room : best))
}

function emptiest(rooms: readonly Room[]): Room {
  return rooms.reduce((best, room) => (room.count > best.count ? room : best))
}

/**
 * Higher is better: what the spec wishes for, an image that lies there, then what leaves the node's free GPUs most
 * useful for others, then the tighter fit. A task without GPU stays off hosts that have some, where it can.
 */
function score({ images, gang }: Search, shape: Shape, site: Site): number {
  let value = 0
  for (const affinity of shape.affinities) if (meets(site.row, affinity)) value += affinity.weight * 1000
  if (shape.imageName !== undefined && images(site.row.id).has(shape.imageName)) value += 300
  if (gang.tasks.some((task) => hasFailedOn(task, site.row.id))) value -= 5000
  const free = site.devices.reduce(
    (sum, device) => sum + (device.holders === 0 && !device.gpu?.shared ? 1 : 0),
    0,
  )
  const gpus = gpusOf(shape)
  if (gpus === 0) return value - (site.devices.length ? 500 + 10 * free : 0) - leftOver(shape, site)
  if (shape.need?.share) return value - free
  return value - 20 * (broken(free - gpus) - broken(free)) - 4 * (free - gpus) - leftOver(shape, site)
}

/** 0 when the task takes all that is left of the node's cores and memory, 1 when next to nothing. */
function leftOver(shape: Shape, { row, cpu, memory }: Site): number {
  const { allocatable } = row
  if (!allocatable) return 1
  return ((cpu - shape.cpu) / (allocatable.cpu * 1000) + (memory - shape.memory) / allocatable.memory) / 2
}

/** How many of so many free GPUs tasks of the usual sizes could not use: each size's remainder. */
const broken = (free: number): number => (free % 2) * 0.5 + (free % 4) * 0.3 + (free % 8) * 0.2

const hasFailedOn = ({ past }: Gang['tasks'][number], node: string): boolean =>
  past?.some((attempt) => attempt.node === node && attempt.exit_code !== 0 && attempt.exit_code !== null) ??
  false
