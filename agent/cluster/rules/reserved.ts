import type { Reason } from '../../../contract/index.ts'
import type { NodeRow, ReservationRow, State, TaskRow } from '../state.ts'
import { type Workload, workloadOf } from '../workloads.ts'

/** What has no time limit is taken to run for so long, ms. */
export const unlimitedMs = 24 * 3600_000

type Span = Pick<ReservationRow, 'starts_at' | 'ends_at'>

export const overlaps = (a: Span, b: Span): boolean => a.starts_at < b.ends_at && b.starts_at < a.ends_at

export function isHolder(
  { holders }: Pick<ReservationRow, 'holders'>,
  { owner, team }: Pick<Workload, 'owner' | 'team'>,
): boolean {
  return holders.includes(`user:${owner}`) || (team !== null && holders.includes(`team:${team}`))
}

/** When it will be over at the latest, ms; `now` is when it starts, or would. */
export function endOf({ limit_seconds, grace_seconds }: Workload, from: number): number {
  return limit_seconds === null ? from + unlimitedMs : from + (limit_seconds + grace_seconds) * 1000
}

/** How much of a node a workload may take at this time beside what is reserved for others. */
export interface Reserved {
  /** Why it may have nothing of it. */
  readonly whole: Reason | null
  /** So many devices more than are held now, free or not. */
  readonly gpus: number
  readonly reason: Reason | null
}

const unreserved: Reserved = { whole: null, gpus: Infinity, reason: null }

/**
 * What is reserved on a node for others than this workload, from `now` (ms) until its time limit. `holders`: the
 * tasks that hold resources of the node.
 */
export function reservedFor(
  state: State,
  workload: Workload,
  node: NodeRow,
  now: number,
  holders: readonly TaskRow[],
): Reserved {
  if (!state.reservations.size) return unreserved
  const until = endOf(workload, now)
  const mine = (row: ReservationRow) => isHolder(row, workload)
  const rows = [...state.reservations.values()].filter(
    (row) => row.nodes.includes(node.id) && startOf(row) < until && now < Date.parse(row.ends_at),
  )
  const others = rows.filter((row) => !mine(row)).toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const whole = others.find((row) => row.gpus === null)
  if (whole) return { whole: reasonOf(whole, node, now), gpus: 0, reason: reasonOf(whole, node, now) }
  const [first] = others
  if (!first) return unreserved
  const instants = [now, ...others.map(startOf)].filter((at) => at >= now)
  const room = instants.map((at) => roomAt(state, node, rows.filter((row) => isAt(row, at)), now, at, holders, mine)) // prettier-ignore
  return { whole: null, gpus: Math.min(...room), reason: reasonOf(first, node, now) }
}

/** Will its time limit have ended it? */
export function endsBy(workload: Workload, { started_at }: TaskRow, at: number): boolean {
  return (
    workload.limit_seconds !== null && started_at !== null && endOf(workload, Date.parse(started_at)) <= at
  )
}

const startOf = (row: ReservationRow) => Date.parse(row.starts_at)
const isAt = (row: ReservationRow, at: number) => startOf(row) <= at && at < Date.parse(row.ends_at)

/** Devices left at an instant: each reservation counts with what it keeps, or what its holders use if that is more. */
function roomAt(
  state: State,
  node: NodeRow,
  rows: readonly ReservationRow[],
  now: number,
  at: number,
  holders: readonly TaskRow[],
  mine: (row: ReservationRow) => boolean,
): number {
  const inside = new Map<ReservationRow, Set<string>>(rows.map((row) => [row, new Set()]))
  const outside = new Set<string>()
  for (const task of holders) {
    const workload = workloadOf(state, task.workload)
    if (!workload || (at > now && endsBy(workload, task, at))) continue
    const row = rows.find((each) => isHolder(each, workload))
    for (const uuid of task.gpus) (row ? inside.get(row) : outside)?.add(uuid)
  }
  let left = node.gpus.length - outside.size
  for (const [row, used] of inside) left -= mine(row) ? used.size : Math.max(used.size, row.gpus ?? 0)
  return left
}

function reasonOf(row: ReservationRow, node: NodeRow, now: number): Reason {
  const what = row.gpus === null ? node.name : `${row.gpus} GPUs of ${node.name}`
  const when = startOf(row) <= now ? `until ${row.ends_at}` : `from ${row.starts_at}`
  return {
    code: 'reserved',
    message: `${what} ${row.gpus === 1 || row.gpus === null ? 'is' : 'are'} reserved (${row.name}) ${when}`,
  }
}
