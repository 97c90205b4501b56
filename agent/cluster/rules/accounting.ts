import type { LedgerRow, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { type Workload, workloadOf } from '../workloads.ts'
import { moneyPerSecond, wholeGpus } from './prices.ts'
import { billOf, chargeShares, sharersOf } from './shares.ts'

const dayMs = 24 * 3600_000
const GiB = 1024 ** 3
/** Days are kept so long, once there are many rows. */
const keepDays = 400
const manyRows = 20_000

/**
 * Every end of an attempt comes by here once, with its row as it was when it ended: what it used goes to the days it
 * ran on (UTC, so that a month's end parts it too), and to the shares of its owner and team.
 */
export function accountFor(tx: Transaction, task: TaskRow): void {
  const workload = workloadOf(tx.state, task.workload)
  if (!workload) return
  const days = daysOf(tx, workload, task)
  const seconds = days.reduce((sum, day) => sum + day.seconds, 0)
  chargeShares(tx, sharersOf(workload), billOf(task) * seconds)
  const idle = Math.min(task.idle_seconds ?? 0, seconds)
  for (const [at, part] of days.entries())
    enter(tx, workload, part.day, {
      ...used(tx, task, part.seconds),
      idle_gpu_seconds: seconds > 0 ? (wholeGpus(tx.state, task) * idle * part.seconds) / seconds : 0,
      attempts: at === days.length - 1 ? 1 : 0,
    })
}

type Amounts = Omit<LedgerRow, 'day' | 'owner' | 'team' | 'name' | 'resource_version'>

function used(
  tx: Transaction,
  task: TaskRow,
  seconds: number,
): Omit<Amounts, 'attempts' | 'idle_gpu_seconds'> {
  const gpu_seconds = wholeGpus(tx.state, task) * seconds
  return {
    cpu_seconds: task.resources.cpu * seconds,
    gpu_seconds,
    memory_gib_seconds: (task.resources.memory / GiB) * seconds,
    wasted_gpu_seconds: isWasted(task) ? gpu_seconds : 0,
    money: moneyPerSecond(tx.state, task) * seconds,
  }
}

/** Nothing came of it: it failed, was lost, or has to begin anew. Who stops something had it for what it was. */
function isWasted({ state, reason }: TaskRow): boolean {
  return state !== 'Succeeded' && (state !== 'Stopped' || reason?.code === 'peer_failed')
}

/** How long it ran on each day it ran on; at least the day it ended on. */
function daysOf(tx: Transaction, workload: Workload, task: TaskRow): { day: string; seconds: number }[] {
  const end = Date.parse(task.finished_at ?? tx.at)
  // A host's clock may jump while it runs: no attempt is older than its workload.
  const most = Math.max(0, Date.parse(tx.at) - Date.parse(workload.created_at)) + dayMs
  const ran = Math.min(Math.max(0, end - Date.parse(task.started_at ?? task.finished_at ?? tx.at)), most)
  const days: { day: string; seconds: number }[] = []
  let from = end - ran
  do {
    const until = Math.min(end, (Math.floor(from / dayMs) + 1) * dayMs)
    days.push({ day: new Date(from).toISOString().slice(0, 10), seconds: (until - from) / 1000 })
    from = until
  } while (from < end)
  return days
}

function enter(tx: Transaction, { owner, team, name }: Workload, day: string, amounts: Amounts): void {
  const key = `${day}/${owner}/${team ?? ''}/${name}`
  const before = tx.get('ledger', key)
  if (!before) forgetOld(tx, day)
  const sum = (kind: keyof Amounts) => Math.round(((before?.[kind] ?? 0) + amounts[kind]) * 1e6) / 1e6
  tx.put('ledger', key, {
    day, owner, team, name, attempts: sum('attempts'), cpu_seconds: sum('cpu_seconds'), gpu_seconds: sum('gpu_seconds'),
    memory_gib_seconds: sum('memory_gib_seconds'), wasted_gpu_seconds: sum('wasted_gpu_seconds'),
    idle_gpu_seconds: sum('idle_gpu_seconds'), money: sum('money'),
  }) // prettier-ignore
}

function forgetOld(tx: Transaction, day: string): void {
  const { ledger } = tx.state
  // Looking through all of them for each new row would cost more than they do.
  if (ledger.size < manyRows || ledger.size % 100 !== 0) return
  const oldest = new Date(Date.parse(day) - keepDays * dayMs).toISOString().slice(0, 10)
  for (const [key, row] of ledger) if (row.day < oldest) tx.delete('ledger', key)
}
