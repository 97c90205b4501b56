import type { Command } from '../cluster/commands.ts'
import { isHolder } from '../cluster/rules/reserved.ts'
import { billOf } from '../cluster/rules/shares.ts'
import type { ReservationRow, State, TaskRow } from '../cluster/state.ts'
import { type Workload, workloadOf } from '../cluster/workloads.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { clock } from './words.ts'

export type Eviction = Omit<Extract<Command, { type: 'workload.evict' }>, 'type'>

interface Other {
  readonly task: TaskRow
  readonly workload: Workload
}

/**
 * A reservation has begun, and on its devices runs work of others of which nobody knows when it ends: it waits for
 * another place. What has a time limit runs on to it.
 */
export function overruns({ board }: ClusterIndex, state: State, now: number): Eviction[] {
  const begun = [...state.reservations.values()].filter(
    (row) => Date.parse(row.starts_at) <= now && now < Date.parse(row.ends_at),
  )
  const due = new Map<string, { row: ReservationRow; tasks: Set<string> }>()
  for (const node of new Set(begun.flatMap(({ nodes }) => nodes)).values()) {
    const site = board.site(node)
    const rows = begun.filter(({ nodes }) => nodes.includes(node))
    const [row] = rows
    if (!site || !row) continue
    const others = othersOf(state, rows, [...site.holders.values()])
    const whole = rows.find(({ gpus }) => gpus === null)
    const leaving = whole ? others.filter(isEndless) : tooMany(rows, others, site.row.gpus.length, now)
    for (const { task } of leaving) {
      const known = due.get(task.workload) ?? { row: whole ?? row, tasks: new Set<string>() }
      due.set(task.workload, known)
      known.tasks.add(task.id)
    }
  }
  return [...due].map(([id, { row, tasks }]) => eviction(id, [...tasks].toSorted(), row))
}

const othersOf = (state: State, rows: readonly ReservationRow[], holders: readonly TaskRow[]): Other[] =>
  holders.flatMap((task) => {
    const workload = workloadOf(state, task.workload)
    const isTheirs = !workload || rows.some((row) => isHolder(row, workload))
    return isTheirs || task.evict ? [] : [{ task, workload }]
  })

const isEndless = ({ workload }: Other): boolean =>
  workload.limit_seconds === null && !workload.stop_requested

/** Those whose going leaves as many devices as are reserved; the ones that lose least. */
function tooMany(
  rows: readonly ReservationRow[],
  others: readonly Other[],
  devices: number,
  now: number,
): Other[] {
  const reserved = rows.reduce((sum, { gpus }) => sum + (gpus ?? 0), 0)
  const held = (some: readonly Other[]) => new Set(some.flatMap(({ task }) => task.gpus)).size
  const lossOf = ({ task }: Other) =>
    task.started_at === null ? 0 : billOf(task) * (now - Date.parse(task.started_at))
  const byLoss = others
    .filter((other) => isEndless(other) && other.task.gpus.length > 0)
    .toSorted((a, b) => lossOf(a) - lossOf(b) || (a.task.id < b.task.id ? -1 : 1))
  const leaving: Other[] = []
  for (const other of byLoss) {
    if (held(others.filter((one) => !leaving.includes(one))) + reserved <= devices) break
    leaving.push(other)
  }
  return leaving
}

function eviction(id: string, tasks: readonly string[], { name, ends_at }: ReservationRow): Eviction {
  const message = `its place is reserved (${name}) until ${clock(ends_at)}, and it has no time limit`
  return { id, tasks, eviction: { cause: 'reserved', reason: { code: 'reserved', message }, then: 'queue' } }
}
