import type { ReservationRow, State, TaskRow } from '../cluster/state.ts'
import { endOf, isHolder, type Reserved, reservedFor } from '../cluster/rules/reserved.ts'
import type { Workload } from '../cluster/workloads.ts'
import type { Board } from './board.ts'
import { type Bounds, noBounds } from './place.ts'
import type { Bound, Site } from './site.ts'

interface Span {
  readonly row: ReservationRow
  readonly from: number
  readonly to: number
}

/** What the rule keeps of a site, and how many of its devices were held when it was asked. */
interface Kept {
  readonly reserved: Reserved
  readonly held: number
}

/** What the rule answered, for as long as nothing that it is asked of changes. */
export class CalendarMemory {
  reservations: State['reservations'] | undefined
  /** No reservation begins or ends before. */
  until = 0
  readonly kept = new Map<string, Map<Site, Kept & { readonly version: number }>>()
}

const nothing: Bound = { cpu: 0, memory: 0, disk: 0, gpu: 0, without: new Set() }

/** What is reserved for others, for one pass: the rule of `apply`, asked once for workloads it treats alike. */
export class Calendar {
  readonly #state: State
  readonly #board: Board
  readonly #now: number
  readonly #spans: readonly Span[]
  readonly #memory: CalendarMemory

  constructor(state: State, board: Board, memory: CalendarMemory, now: number) {
    this.#state = state
    this.#board = board
    this.#now = now
    this.#spans = [...state.reservations.values()]
      .map((row) => ({ row, from: Date.parse(row.starts_at), to: Date.parse(row.ends_at) }))
      .filter(({ to }) => to > now)
    this.#memory = memory
    if (memory.reservations === state.reservations && now < memory.until) return
    memory.kept.clear()
    memory.reservations = state.reservations
    memory.until = Math.min(...this.#spans.flatMap(({ from, to }) => [from, to]).filter((at) => at > now))
  }

  /** Reservations of others that the workload would run into, did it begin at `at`. */
  against(workload: Workload, at = this.#now): ReservationRow[] {
    if (!this.#spans.length) return []
    const until = endOf(workload, at)
    return this.#spans
      .filter(({ row, from, to }) => from < until && to > at && !isHolder(row, workload))
      .map(({ row }) => row)
  }

  /** What it may use beside them of each node that is in one. */
  boundsFor(workload: Workload): Bounds {
    const against = this.against(workload)
    if (!against.length) return noBounds
    const bounds = new Map<number, Bound>()
    for (const [site, kept] of this.#keptFrom(workload, against)) bounds.set(site.index, beside(site, kept))
    return bounds
  }

  /** Equal for those whose `boundsFor` are equal. */
  key(workload: Workload): string {
    if (!this.#spans.length) return ''
    return `${idsOf(this.against(workload))} | ${this.signature(workload)}`
  }

  /** Equal for those from whom the same is kept, whenever they end. */
  signature(workload: Workload): string {
    return this.#spans.map(({ row }) => (isHolder(row, workload) ? '' : row.id)).join(' ')
  }

  /** When something that is kept from the workload is no longer, in order. */
  endsAgainst(workload: Workload): number[] {
    return this.#spans
      .filter(({ row }) => !isHolder(row, workload))
      .map(({ to }) => to)
      .toSorted((a, b) => a - b)
  }

  /** What it may use at a later time of nodes that are in no reservation then: quick to tell. */
  awayFrom(workload: Workload, at: number): Bounds {
    const bounds = new Map<number, Bound>()
    for (const { nodes } of this.against(workload, at))
      for (const node of nodes) {
        const site = this.#board.site(node)
        if (site) bounds.set(site.index, nothing)
      }
    return bounds
  }

  /** What it may use at a later time, when what `ended` names is gone. */
  boundsAt(workload: Workload, at: number, ended: ReadonlySet<string>): Bounds {
    const bounds = new Map<number, Bound>()
    for (const node of nodesOf(this.against(workload, at))) {
      const site = this.#board.site(node)
      if (!site) continue
      const staying = [...site.holders.values()].filter(({ id }) => !ended.has(id))
      bounds.set(site.index, beside(site, this.#ask(workload, site, at, staying)))
    }
    return bounds
  }

  #keptFrom(workload: Workload, against: readonly ReservationRow[]): ReadonlyMap<Site, Kept> {
    const key = this.key(workload)
    let known = this.#memory.kept.get(key)
    if (!known) this.#memory.kept.set(key, (known = new Map<Site, Kept & { readonly version: number }>()))
    const kept = new Map<Site, Kept>()
    for (const node of nodesOf(against)) {
      const site = this.#board.site(node)
      if (!site) continue
      let one = known.get(site)
      if (one?.version !== site.version) {
        const asked = this.#ask(workload, site, this.#now, [...site.holders.values()])
        known.set(site, (one = { ...asked, version: site.version }))
      }
      kept.set(site, one)
    }
    return kept
  }

  #ask(workload: Workload, site: Site, at: number, holders: readonly TaskRow[]): Kept {
    const held = new Set(holders.flatMap((task) => task.gpus)).size
    return { reserved: reservedFor(this.#state, workload, site.row, at, holders), held }
  }
}

const idsOf = (rows: readonly ReservationRow[]): string => rows.map(({ id }) => id).join(' ')
const nodesOf = (rows: readonly ReservationRow[]): Set<string> => new Set(rows.flatMap(({ nodes }) => nodes))

/** What was placed in this pass counts too: the rule knows only of what runs. */
function beside(site: Site, { reserved: { whole, gpus }, held }: Kept): Bound {
  if (whole) return nothing
  const placed = site.devices.length - site.gpu - held
  // Only devices are reserved of a node that is not as a whole.
  return { cpu: Infinity, memory: Infinity, disk: Infinity, gpu: gpus - placed, without: new Set() }
}
