import type { Reason } from '../../contract/index.ts'
import { formatBytes } from '../../contract/index.ts'
import type { QuotaRow, State, TaskRow } from '../cluster/state.ts'
import type { Workload } from '../cluster/workloads.ts'
import { gpusOf } from './gang.ts'
import type { Gang } from './gang.ts'

/** What somebody's tasks hold now. Thousandths of a core, bytes. */
interface Use {
  gpu: number
  cpu: number
  memory: number
  disk: number
  running: number
  /** Σ over running tasks of what each is billed a second, in hundredths, and of that times its start in seconds. */
  billed: number
  billedSince: number
}

const none = (): Use => ({ gpu: 0, cpu: 0, memory: 0, disk: 0, running: 0, billed: 0, billedSince: 0 })

const epoch = 1_700_000_000
const halfLifeMs = 7 * 24 * 3600_000
/** A task without GPU is billed too, by the part of a usual GPU host that comes with one GPU. */
const cpuPerGpu = 16
const memoryPerGpu = 128 * 1024 ** 3

/** GPU-seconds that a task is billed a second. */
export const billOf = ({ resources }: Pick<TaskRow, 'resources'>): number =>
  Math.max(resources.gpu, resources.cpu / cpuPerGpu, resources.memory / memoryPerGpu)

export const subjectsOf = ({ owner, team }: Pick<Workload, 'owner' | 'team'>): string[] =>
  team === null ? ['cluster', `user:${owner}`] : ['cluster', `user:${owner}`, `team:${team}`]

/** Who holds how much: kept up to date task by task, so that quotas and shares cost nothing to ask. */
export class Tally {
  readonly #uses = new Map<string, Use>()

  of(subject: string): Readonly<Use> {
    return this.#uses.get(subject) ?? none()
  }

  task(workload: Workload, task: TaskRow, sign: 1 | -1): void {
    const { cpu, memory, disk, gpu } = task.resources
    // Hundredths of a GPU and whole seconds since then add up exactly, in whatever order tasks come and go.
    const bill = sign * Math.round(billOf(task) * 100)
    const since =
      task.started_at === null ? undefined : Math.floor(Date.parse(task.started_at) / 1000) - epoch
    for (const subject of subjectsOf(workload)) {
      const use = this.#use(subject)
      use.gpu += sign * gpu
      use.cpu += sign * Math.round(cpu * 1000)
      use.memory += sign * memory
      use.disk += sign * disk
      if (since === undefined) continue
      use.billed += bill
      use.billedSince += bill * since
    }
  }

  running(workload: Workload, sign: 1 | -1): void {
    for (const subject of subjectsOf(workload)) this.#use(subject).running += sign
  }

  /** Decayed GPU-seconds so far, running tasks included, by weight. */
  share(state: Pick<State, 'shares' | 'quotas'>, subject: string, now: number): number {
    const past = state.shares.get(subject)
    const decayed = past ? past.gpu_seconds * 0.5 ** (Math.max(0, now - Date.parse(past.at)) / halfLifeMs) : 0
    const use = this.of(subject)
    const running = Math.max(0, (use.billed * (now / 1000 - epoch) - use.billedSince) / 100)
    return (decayed + running) / weightOf(state, subject)
  }

  #use(subject: string): Use {
    let use = this.#uses.get(subject)
    if (!use) this.#uses.set(subject, (use = none()))
    return use
  }
}

export function quotaOf({ quotas }: Pick<State, 'quotas'>, subject: string): QuotaRow | undefined {
  return quotas.get(subject) ?? quotas.get(subject.replace(/:.*/, ':*'))
}

export const weightOf = (state: Pick<State, 'quotas'>, subject: string): number =>
  quotaOf(state, subject)?.weight ?? 1

const gibibytes = formatBytes

/** Which quota the gang would break, beside what is held already; null when none. */
export function overQuota(
  state: Pick<State, 'quotas'>,
  tally: Tally,
  gang: Gang,
  first: boolean,
): Reason | null {
  if (!state.quotas.size) return null
  const ask = askOf(gang, first)
  for (const subject of subjectsOf(gang.workload)) {
    const limits = quotaOf(state, subject)?.limits
    if (!limits) continue
    const use = tally.of(subject)
    const over = (['gpu', 'cpu', 'memory', 'disk', 'running'] as const).find((kind) => {
      const limit = limits[kind]
      return (
        limit !== null && ask[kind] > 0 && use[kind] + ask[kind] > (kind === 'cpu' ? limit * 1000 : limit)
      )
    })
    if (over) return quotaReason(subject, over, use[over], ask[over], limits[over] ?? 0)
  }
  return null
}

type Kind = 'gpu' | 'cpu' | 'memory' | 'disk' | 'running'

function askOf(gang: Gang, first: boolean): Record<Kind, number> {
  const ask = { gpu: 0, cpu: 0, memory: 0, disk: 0, running: first ? 1 : 0 }
  for (const { shape, tasks } of gang.parts) {
    ask.gpu += gpusOf(shape) * tasks.length
    ask.cpu += shape.cpu * tasks.length
    ask.memory += shape.memory * tasks.length
    ask.disk += shape.disk * tasks.length
  }
  return ask
}

function quotaReason(subject: string, kind: Kind, used: number, asked: number, limit: number): Reason {
  const text = (value: number) =>
    kind === 'cpu' ? `${value / 1000} cores` : kind === 'gpu' ? `${value} GPUs` : kind === 'running' ? `${value} workloads` : `${gibibytes(value)} of ${kind}` // prettier-ignore
  const whose = subject === 'cluster' ? 'the cluster' : subject.replace(':', ' ')
  return {
    code: 'over_quota',
    message: `the quota of ${whose} is ${text(kind === 'cpu' ? limit * 1000 : limit)}: ${text(used)} are in use, ${text(asked)} more are asked`,
  }
}
