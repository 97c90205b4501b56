import type { LedgerRow, State, TaskRow } from '../state.ts'
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
  const parts = usedBy(tx.state, workload, task, Date.parse(tx.at))
  const seconds = parts.reduce((sum, part) => sum + part.seconds, 0)
  chargeShares(tx, sharersOf(workload), billOf(task) * seconds)
  for (const { day, amounts } of parts) enter(tx, workload, day, amounts)
}

type Amounts = Omit<LedgerRow, 'day' | 'owner' | 'team' | 'name' | 'resource_version'>

interface DayPart {
  readonly day: string
  readonly seconds: number
  readonly amounts: Amounts
}

/** What an attempt used on each day it ran on, up to its end or, while it runs, up to `now` (ms). */
export function usedBy(state: State, workload: Workload, task: TaskRow, now: number): DayPart[] {
  const days = daysOf(workload, task, now)
  const ran = days.reduce((sum, { seconds }) => sum + seconds, 0)
  const gpus = wholeGpus(state, task)
  const idle = ran > 0 ? Math.min(task.idle_seconds ?? 0, ran) / ran : 0
  const price = moneyPerSecond(state, task)
  return days.map(({ day, seconds }, at) => {
    const gpu_seconds = gpus * seconds
    const amounts = {
      attempts: task.finished_at !== null && at === days.length - 1 ? 1 : 0,
      cpu_seconds: task.resources.cpu * seconds,
      gpu_seconds,
      memory_gib_seconds: (task.resources.memory / GiB) * seconds,
      wasted_gpu_seconds: isWasted(task) ? gpu_seconds : 0,
      idle_gpu_seconds: gpu_seconds * idle,
      money: price * seconds,
    }
    return { day, seconds, amounts }
  })
}

/** Nothing came of it: it failed, was lost, or has to begin anew. Who stops something had it for what it was. */
function isWasted({ state, reason, finished_at }: TaskRow): boolean {
  if (finished_at === null) return false
  return state !== 'Succeeded' && (state !== 'Stopped' || reason?.code === 'peer_failed')
}

/** How long it ran on each day it ran on; at least the day it ended on. */
function daysOf(workload: Workload, task: TaskRow, now: number): { day: string; seconds: number }[] {
  const end = task.finished_at === null ? now : Date.parse(task.finished_at)
  // A host's clock may jump while it runs: no attempt is older than its workload.
  const most = Math.max(0, now - Date.parse(workload.created_at)) + dayMs
  const began = task.started_at === null ? end : Date.parse(task.started_at)
  const ran = Math.min(Math.max(0, end - began), most)
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
