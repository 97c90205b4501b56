import type { QuotaRow, State, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import type { Workload } from '../workloads.ts'
import { billedFrom, heldBy } from './holdings.ts'

const halfLifeSeconds = 7 * 24 * 3600
/** A task without GPU is billed too, by the part of a usual GPU host that comes with one GPU. */
const cpuPerGpu = 16
const memoryPerGpu = 128 * 1024 ** 3

/** GPU-seconds that a task is billed a second. */
export const billOf = ({ resources }: Pick<TaskRow, 'resources'>): number =>
  Math.max(resources.gpu, resources.cpu / cpuPerGpu, resources.memory / memoryPerGpu)

/** Whom a workload's use counts to, beside the cluster. */
export const sharersOf = ({ owner, team }: Pick<Workload, 'owner' | 'team'>): string[] =>
  team === null ? [`user:${owner}`] : [`user:${owner}`, `team:${team}`]

/** Whose quotas bind a workload. */
export const subjectsOf = (workload: Pick<Workload, 'owner' | 'team'>): string[] => [
  ...sharersOf(workload).toReversed(),
  'cluster',
]

/** The quota of a subject: its own, or that of all users or teams without one. */
export function quotaOf({ quotas }: Pick<State, 'quotas'>, subject: string): QuotaRow | undefined {
  return quotas.get(subject) ?? quotas.get(subject.replace(/:.*/, ':*'))
}

export const weightOf = (state: Pick<State, 'quotas'>, subject: string): number =>
  quotaOf(state, subject)?.weight ?? 1

const ln2 = 0.693147180559945
/**
 * What is left of an amount after so many seconds, halved every seven days. Made of sums and products alone: every
 * member must come to the same bits, whatever its processor or its version of `pow`.
 */
export function decayed(amount: number, seconds: number): number {
  if (seconds <= 0) return amount
  const halvings = Math.floor(seconds / halfLifeSeconds)
  if (halvings > 60) return 0
  const x = -(seconds / halfLifeSeconds - halvings) * ln2
  let [sum, term] = [1, 1]
  for (let n = 1; n <= 16; n++) {
    term = (term * x) / n
    sum += term
  }
  let left = amount * sum
  for (let n = 0; n < halvings; n++) left /= 2
  return left
}

/** An attempt ended: what it is billed counts against its owner and team from now on. */
export function chargeShares(tx: Transaction, subjects: readonly string[], gpuSeconds: number): void {
  if (gpuSeconds <= 0) return
  for (const subject of subjects) {
    const before = tx.get('shares', subject) ?? { gpu_seconds: 0, at: tx.at }
    const seconds = (Date.parse(tx.at) - Date.parse(before.at)) / 1000
    const sum = decayed(before.gpu_seconds, seconds) + gpuSeconds
    // The clock of another proposer may be behind: what is decayed already is not decayed again.
    const at = before.at > tx.at ? before.at : tx.at
    tx.put('shares', subject, { gpu_seconds: Math.round(sum * 1000) / 1000, at })
  }
}

/** Decayed GPU-seconds divided by weight, those of running tasks included; who has least comes first. */
export function sharesOf(
  state: Pick<State, 'tasks' | 'experiments' | 'shares' | 'quotas'>,
  now: number,
): (subject: string) => number {
  return (subject) => {
    const row = state.shares.get(subject)
    const past = row ? decayed(row.gpu_seconds, (now - Date.parse(row.at)) / 1000) : 0
    const { billed, billedSince } = heldBy(state, subject)
    const running = Math.max(0, (billed * (now / 1000 - billedFrom) - billedSince) / 100)
    return (past + running) / weightOf(state, subject)
  }
}
