import type { ReservationRow, State } from '../cluster/state.ts'
import { endOf, isHolder, type Reserved, reservedFor } from '../cluster/rules/reserved.ts'
import type { Workload } from '../cluster/workloads.ts'
import type { Board } from './board.ts'
import { type Bounds, noBounds } from './place.ts'
import type { Bound, Site } from './site.ts'

/** What is reserved for others, for one pass: the rule of `apply`, asked once for workloads it treats alike. */
export class Calendar {
  readonly #state: State
  readonly #board: Board
  readonly #now: number
  readonly #rows: readonly ReservationRow[]
  readonly #known = new Map<string, ReadonlyMap<Site, Reserved>>()

  constructor(state: State, board: Board, now: number) {
    this.#state = state
    this.#board = board
    this.#now = now
    this.#rows = [...state.reservations.values()].filter((row) => Date.parse(row.ends_at) > now)
  }

  /** Reservations of others that the workload would run into. */
  against(workload: Workload): ReservationRow[] {
    if (!this.#rows.length) return []
    const until = endOf(workload, this.#now)
    return this.#rows.filter((row) => Date.parse(row.starts_at) < until && !isHolder(row, workload))
  }

  /** What it may use beside them of each node that is in one. */
  boundsFor(workload: Workload): Bounds {
    const against = this.against(workload)
    if (!against.length) return noBounds
    const bounds = new Map<number, Bound>()
    for (const [site, reserved] of this.#reserved(workload, against))
      bounds.set(site.index, beside(site, reserved))
    return bounds
  }

  /** Equal for those from whom the same is kept, whenever they end. */
  signature(workload: Workload): string {
    return this.#rows.map((row) => (isHolder(row, workload) ? '' : row.id)).join(' ')
  }

  #reserved(workload: Workload, against: readonly ReservationRow[]): ReadonlyMap<Site, Reserved> {
    const key = `${against.map(({ id }) => id).join(' ')} | ${this.signature(workload)}`
    const before = this.#known.get(key)
    if (before) return before
    const made = new Map<Site, Reserved>()
    for (const node of new Set(against.flatMap(({ nodes }) => nodes))) {
      const site = this.#board.site(node)
      if (site) made.set(site, reservedFor(this.#state, workload, site.row, this.#now, [...site.holders.values()])) // prettier-ignore
    }
    this.#known.set(key, made)
    return made
  }
}

/** What was placed in this pass counts too: the rule knows only of what runs. */
function beside(site: Site, { whole, gpus }: Reserved): Bound {
  const { cpu, memory, disk } = site
  if (whole) return { cpu: 0, memory: 0, disk: 0, gpu: 0, without: new Set() }
  const held = new Set([...site.holders.values()].flatMap((task) => task.gpus)).size
  const placed = site.devices.length - site.gpu - held
  return { cpu, memory, disk, gpu: gpus - placed, without: new Set() }
}
