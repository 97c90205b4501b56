import { formatBytes, holdsResources, type Reason } from '../../../contract/index.ts'
import type { QuotaRow, State, TaskRow } from '../state.ts'
import { type Workload, workloadOf } from '../workloads.ts'
import { moneyPerSecond, thePrices, wholeGpus } from './prices.ts'
import { holdingsOf, nothingUsed, type Use, usageOf } from './holdings.ts'
import { quotaOf, subjectsOf } from './shares.ts'

export { nothingUsed, type Use, usageOf } from './holdings.ts'
export { quotaOf, sharersOf, sharesOf, subjectsOf, weightOf } from './shares.ts'
export { reservedFor } from './reserved.ts'

const kinds = ['gpu', 'cpu', 'memory', 'disk', 'running'] as const
type Kind = (typeof kinds)[number]

export function plus(a: Use, b: Use): Use {
  return {
    gpu: a.gpu + b.gpu,
    cpu: a.cpu + b.cpu,
    memory: a.memory + b.memory,
    disk: a.disk + b.disk,
    running: a.running + b.running,
  }
}

/** What these tasks would hold; `first`: none of their workload does yet. */
export function askOf(tasks: readonly Pick<TaskRow, 'resources'>[], first: boolean): Use {
  return tasks.reduce(
    (sum, { resources: { gpu, cpu, memory, disk } }) =>
      plus(sum, { gpu, cpu: Math.round(cpu * 1000), memory, disk, running: 0 }),
    { ...nothingUsed, running: first ? 1 : 0 },
  )
}

/** Which quota these waiting tasks of a workload would break, in words; null when none. `now` in ms. */
export function overQuota(
  state: State,
  workload: Workload,
  tasks: readonly TaskRow[],
  now: number,
): Reason | null {
  if (!state.quotas.size) return null
  const first = !workload.tasks.some((id) => holdsResources(state.tasks.get(id)?.state ?? 'Accepted'))
  const ask = askOf(tasks, first)
  const useOf = (subject: string) => usageOf(state, subject)
  return overLimits(state, workload, ask, useOf) ?? overBudget(state, workload, now)
}

/** The same rule for whoever keeps count of what is held, as the planner does within a pass. */
export function overLimits(
  state: Pick<State, 'quotas'>,
  workload: Pick<Workload, 'owner' | 'team'>,
  ask: Use,
  useOf: (subject: string) => Use,
): Reason | null {
  for (const subject of subjectsOf(workload)) {
    const limits = quotaOf(state, subject)?.limits
    if (!limits) continue
    const use = useOf(subject)
    const limitOf = (kind: Kind) => {
      const limit = limits[kind]
      return limit === null ? Infinity : kind === 'cpu' ? Math.round(limit * 1000) : limit
    }
    const over = kinds.find((kind) => ask[kind] > 0 && use[kind] + ask[kind] > limitOf(kind))
    if (over) return refusal(subject, over, limitOf(over), use[over], ask[over])
  }
  return null
}

/** `team vision`, `user ana`, `the cluster`. */
export const whose = (subject: string): string =>
  subject === 'cluster' ? 'the cluster' : subject.replace(':', ' ')

function amount(kind: Kind, value: number): string {
  if (kind === 'memory' || kind === 'disk') return `${formatBytes(value)} of ${kind}`
  const count = kind === 'cpu' ? value / 1000 : value
  const [one, many] = { gpu: ['GPU', 'GPUs'], cpu: ['core', 'cores'], running: ['workload', 'workloads'] }[kind] as [string, string] // prettier-ignore
  return `${count} ${count === 1 ? one : many}`
}

function refusal(subject: string, kind: Kind, limit: number, used: number, asked: number): Reason {
  const message = `the quota of ${whose(subject)} is ${amount(kind, limit)} at once: ${amount(kind, used)} in use, ${amount(kind, asked)} asked`
  return { code: 'over_quota', message }
}

// --- the month ----------------------------------------------------------------------------------------------

export interface MonthUse {
  readonly gpu_hours: number
  readonly money: number
}

const monthOf = (now: number) => new Date(now).toISOString().slice(0, 7)

const ledgers = new WeakMap<State['ledger'], Map<string, MonthUse>>()
/** Of what ended, by month and subject. */
function ledgerByMonth({ ledger }: Pick<State, 'ledger'>): Map<string, MonthUse> {
  const known = ledgers.get(ledger)
  if (known) return known
  const made = new Map<string, MonthUse>()
  for (const { day, owner, team, gpu_seconds, money } of ledger.values())
    for (const subject of subjectsOf({ owner, team })) {
      const key = `${day.slice(0, 7)} ${subject}`
      const before = made.get(key) ?? { gpu_hours: 0, money: 0 }
      made.set(key, { gpu_hours: before.gpu_hours + gpu_seconds / 3600, money: before.money + money })
    }
  ledgers.set(ledger, made)
  return made
}

/** What somebody used in the calendar month of `now` (UTC), with what runs now up to `now`. */
export function monthUseOf(state: State, subject: string, now: number): MonthUse {
  const past = ledgerByMonth(state).get(`${monthOf(now)} ${subject}`) ?? noUse
  const running = runningThisMonth(state, subject, now)
  return { gpu_hours: past.gpu_hours + running.gpu_hours, money: past.money + running.money }
}

const noUse: MonthUse = { gpu_hours: 0, money: 0 }

/** The last answers: a planner asks for thousands of workloads at the same time of the same state. */
const running = new WeakMap<
  State['tasks'],
  { now: number; nodes: State['nodes']; prices: State['prices']; made: Map<string, MonthUse> }
>()
function runningThisMonth(state: State, subject: string, now: number): MonthUse {
  let known = running.get(state.tasks)
  // Every member must come to the same answer, whatever it was asked before.
  if (known?.now !== now || known.nodes !== state.nodes || known.prices !== state.prices)
    running.set(state.tasks, (known = { now, nodes: state.nodes, prices: state.prices, made: new Map() }))
  let use = known.made.get(subject)
  if (!use) known.made.set(subject, (use = useOfRunning(state, subject, now)))
  return use
}

function useOfRunning(state: State, subject: string, now: number): MonthUse {
  const begin = Date.parse(`${monthOf(now)}-01T00:00:00Z`)
  return begunBy(state, subject).reduce((sum, task) => {
    const seconds = Math.max(0, now - Math.max(begin, Date.parse(task.started_at ?? ''))) / 1000
    return {
      gpu_hours: sum.gpu_hours + (wholeGpus(state, task) * seconds) / 3600,
      money: sum.money + moneyPerSecond(state, task) * seconds,
    }
  }, noUse)
}

/** What somebody has begun and still holds, by id: fractions add up to the same in the same order only. */
function begunBy(state: State, subject: string): TaskRow[] {
  const { byNode, byWorkload } = holdingsOf(state)
  const found: TaskRow[] = []
  for (const on of byNode.values())
    for (const task of on.values())
      if (task.started_at !== null && byWorkload.get(task.workload)?.subjects.includes(subject))
        found.push(task)
  return found.sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** Nothing new begins once the month's GPU-hours or money are used up; what runs then goes on. */
export function overBudget(
  state: State,
  workload: Pick<Workload, 'owner' | 'team'>,
  now: number,
): Reason | null {
  for (const subject of subjectsOf(workload)) {
    const limits = quotaOf(state, subject)?.limits
    if (!limits || (limits.gpu_hours_month === null && limits.money_month === null)) continue
    const use = monthUseOf(state, subject, now)
    const next = `it begins anew on ${nextMonth(now)}`
    if (limits.gpu_hours_month !== null && use.gpu_hours >= limits.gpu_hours_month)
      return {
        code: 'budget_used',
        message: `${whose(subject)} has used ${hours(use.gpu_hours)} of its ${hours(limits.gpu_hours_month)} of this month; ${next}`,
      }
    if (limits.money_month !== null && use.money >= limits.money_month) {
      const { currency = '' } = state.prices.get(thePrices) ?? {}
      const sum = (value: number) => `${Math.round(value * 100) / 100} ${currency}`.trim()
      return {
        code: 'budget_used',
        message: `${whose(subject)} has spent ${sum(use.money)} of its ${sum(limits.money_month)} of this month; ${next}`,
      }
    }
  }
  return null
}

const hours = (value: number) => `${Math.round(value * 10) / 10} GPU-hours`

function nextMonth(now: number): string {
  const date = new Date(now)
  return new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)).toISOString().slice(0, 10)
}

// --- guaranteed and borrowed --------------------------------------------------------------------------------

const guaranteedOf = (quota: QuotaRow | undefined) => quota?.guaranteed_gpu ?? 0

/** Would its owner or team, with these GPUs more, still be within what it is guaranteed? */
export function isGuaranteed(
  state: Pick<State, 'quotas'>,
  workload: Pick<Workload, 'owner' | 'team'>,
  gpus: number,
  useOf: (subject: string) => Use,
): boolean {
  return subjectsOf(workload).some((subject) => {
    const guaranteed = guaranteedOf(quotaOf(state, subject))
    return guaranteed > 0 && useOf(subject).gpu + gpus <= guaranteed
  })
}

/** Do its owner and team keep all they are guaranteed when what `lost` tells is gone? */
export function isBorrowed(
  state: Pick<State, 'quotas'>,
  workload: Pick<Workload, 'owner' | 'team'>,
  lost: (subject: string) => number,
  useOf: (subject: string) => Use,
): boolean {
  return subjectsOf(workload).every((subject) => {
    const guaranteed = guaranteedOf(quotaOf(state, subject))
    return guaranteed === 0 || useOf(subject).gpu - lost(subject) >= guaranteed
  })
}

/**
 * May these waiting tasks have back what the victim borrowed? Only up to what their owner or team is guaranteed, and
 * never from the same owner or team. `leaving`: the victim's tasks, and all others that are to leave with them.
 */
export function mayReclaim(
  state: State,
  workload: Workload,
  waiting: readonly TaskRow[],
  victim: Workload,
  leaving: readonly TaskRow[],
): boolean {
  if (!state.quotas.size) return false
  const asked = waiting.reduce((sum, { resources }) => sum + resources.gpu, 0)
  const useOf = (subject: string) => usageOf(state, subject)
  const same = workload.team === null ? workload.owner === victim.owner : workload.team === victim.team
  if (asked === 0 || same || !isGuaranteed(state, workload, asked, useOf)) return false
  const lost = lostBy(state, leaving)
  return isBorrowed(state, victim, (subject) => lost.get(subject) ?? 0, useOf)
}

/** GPUs that each subject loses by those who leave, and by those who were asked to already. */
function lostBy(state: State, leaving: readonly TaskRow[]): ReadonlyMap<string, number> {
  const lost = new Map<string, number>()
  const all = new Map([...leaving, ...holdingsOf(state).leaving.values()].map((task) => [task.id, task]))
  for (const task of all.values()) {
    const workload = workloadOf(state, task.workload)
    for (const subject of workload ? subjectsOf(workload) : [])
      lost.set(subject, (lost.get(subject) ?? 0) + task.resources.gpu)
  }
  return lost
}
