import { type Actor, holdsResources, permits, ProblemError, type UsageReport, type UsageQuery, type UsageRow } from '../../contract/index.ts' // prettier-ignore
import type { z } from 'zod'
import { usedBy } from '../cluster/rules/accounting.ts'
import { free, thePrices } from '../cluster/rules/prices.ts'
import type { LedgerRow, State } from '../cluster/state.ts'
import { workloadOf } from '../cluster/workloads.ts'
import { demand } from './access.ts'
import { type ServiceDeps, settled } from './context.ts'

type Query = z.output<typeof UsageQuery>

export interface UsageService {
  report(actor: Actor, query: Query): Promise<UsageReport>
  csv(actor: Actor, query: Query): Promise<{ name: string; text: string }>
}

export function createUsage({ cluster, now = Date.now }: ServiceDeps): UsageService {
  async function report(actor: Actor, query: Query): Promise<UsageReport> {
    demand(actor, 'usage:read')
    await settled(cluster, 'strong')
    return usageReport(cluster.state(), query, now(), (entry) => maySee(actor, entry))
  }
  return {
    report,
    async csv(actor, query) {
      const { from, to, rows } = await report(actor, query)
      return { name: `usage-${from}-${to}.csv`, text: csvOf(rows) }
    },
  }
}

type Entry = Omit<LedgerRow, 'resource_version'>

/** One's own, and that of teams one answers for. */
const maySee = (actor: Actor, { owner, team }: Entry): boolean =>
  permits(actor, 'quota:admin') ||
  (actor.kind === 'user' && (actor.name === owner || permits(actor, 'team:edit', { team })))

export function usageReport(
  state: State,
  query: Query,
  now: number,
  sees: (entry: Entry) => boolean = () => true,
): UsageReport {
  const today = new Date(now).toISOString().slice(0, 10)
  const { from = `${today.slice(0, 7)}-01`, to = today } = query
  if (from > to)
    throw new ProblemError('invalid_request', undefined, {
      errors: [{ pointer: '/query/from', message: `expected a day up to ${to}` }],
    })
  const entries = [...state.ledger.values(), ...runningEntries(state, now)].filter(
    (entry) => from <= entry.day && entry.day <= to && sees(entry),
  )
  const grouped = new Map<string, UsageRow>()
  for (const entry of entries) {
    const group = groupOf(entry, query.by)
    const key = JSON.stringify(group)
    grouped.set(key, plus(grouped.get(key) ?? { ...group, ...nothing }, entry))
  }
  const { currency } = state.prices.get(thePrices) ?? free
  const total = entries.reduce(plus, { ...nobody, ...nothing })
  const rows = [...grouped].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => rounded(row))
  return { from, to, currency, rows, total: rounded(total) }
}

/** What runs has used something too, though the ledger learns of it only when it ends. */
function* runningEntries(state: State, now: number): Generator<Entry> {
  for (const task of state.tasks.values()) {
    if (!holdsResources(task.state) || task.started_at === null) continue
    const workload = workloadOf(state, task.workload)
    if (!workload) continue
    const { owner, team, name } = workload
    for (const { day, amounts } of usedBy(state, workload, task, now))
      yield { day, owner, team, name, ...amounts }
  }
}

const nobody = { day: null, user: null, team: null, workload: null }
const nothing = {
  attempts: 0,
  gpu_hours: 0,
  cpu_hours: 0,
  memory_gib_hours: 0,
  wasted_gpu_hours: 0,
  idle_gpu_hours: 0,
  money: 0,
}

function groupOf({ day, owner, team, name }: Entry, by: Query['by']): Pick<UsageRow, keyof typeof nobody> {
  if (by === 'detail') return { day, user: owner, team, workload: name }
  if (by === 'day') return { ...nobody, day }
  if (by === 'team') return { ...nobody, team }
  return by === 'user' ? { ...nobody, user: owner } : { ...nobody, user: owner, workload: name }
}

function plus(row: UsageRow, entry: Entry): UsageRow {
  return {
    ...row,
    attempts: row.attempts + entry.attempts,
    gpu_hours: row.gpu_hours + entry.gpu_seconds / 3600,
    cpu_hours: row.cpu_hours + entry.cpu_seconds / 3600,
    memory_gib_hours: row.memory_gib_hours + entry.memory_gib_seconds / 3600,
    wasted_gpu_hours: row.wasted_gpu_hours + entry.wasted_gpu_seconds / 3600,
    idle_gpu_hours: row.idle_gpu_hours + entry.idle_gpu_seconds / 3600,
    money: row.money + entry.money,
  }
}

const rounded = (row: UsageRow): UsageRow =>
  Object.fromEntries(
    Object.entries(row).map(([key, value]) => [
      key,
      typeof value === 'number' ? Math.round(value * 1e4) / 1e4 : value,
    ]),
  ) as UsageRow

const columns = [
  'day', 'user', 'team', 'workload', 'attempts', 'gpu_hours', 'cpu_hours', 'memory_gib_hours', 'wasted_gpu_hours',
  'idle_gpu_hours', 'money',
] as const satisfies readonly (keyof UsageRow)[] // prettier-ignore

/** RFC 4180; a value that a spreadsheet would take for a formula is made a text. */
function csvOf(rows: readonly UsageRow[]): string {
  const cell = (value: string | number | null): string => {
    if (typeof value !== 'string') return value === null ? '' : String(value)
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  const lines = rows.map((row) => columns.map((column) => cell(row[column])).join(','))
  return [columns.join(','), ...lines, ''].join('\r\n')
}
