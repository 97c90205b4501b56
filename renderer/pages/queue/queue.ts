import type { Experiment } from '../../../contract/objects.ts'
import type { Limits } from '../../../contract/scheduling.ts'
import { bytes, count } from '../../ui/format.ts'

/** What has no place yet, the oldest first. */
export function waitingOf(experiments: readonly Experiment[]): Experiment[] {
  return experiments
    .filter(({ state }) => state === 'Accepted' || state === 'Queued')
    .toSorted((a, b) => (a.created_at < b.created_at ? -1 : 1))
}

/** What an experiment takes in all: `2 GPUs, 8 cores, 32 GiB`. */
export function takes({ spec }: Experiment): string {
  let [gpu, cpu, memory] = [0, 0, 0]
  for (const { replicas, resources } of Object.values(spec.roles)) {
    gpu += replicas * resources.gpu
    cpu += replicas * resources.cpu
    memory += replicas * resources.memory
  }
  return [...(gpu ? [count(gpu, 'GPU')] : []), count(cpu, 'core'), bytes(memory)].join(', ')
}

export const subjectWords = (subject: string): string => {
  if (subject === 'cluster') return 'Everybody together'
  if (subject === 'user:*') return 'Every other user'
  if (subject === 'team:*') return 'Every other team'
  return subject.replace(':', ' ')
}

/** One bound of a quota, and how much of it is used. */
export interface Bound {
  readonly name: string
  readonly used: number | null
  readonly limit: number
  readonly text: string
}

const kinds: readonly [kind: keyof Limits, name: string, write: (value: number) => string][] = [
  ['gpu', 'GPUs', String],
  ['cpu', 'Cores', String],
  ['memory', 'Memory', bytes],
  ['disk', 'Disk', bytes],
  ['running', 'Running at once', String],
  ['gpu_hours_month', 'GPU-hours this month', (value) => String(Math.round(value * 10) / 10)],
  ['money_month', 'Money this month', (value) => String(Math.round(value * 100) / 100)],
]

/** The bounds that a quota sets, each with what is used of it. */
export function boundsOf(limits: Limits, use: Record<keyof Limits, number> | null): Bound[] {
  return kinds.flatMap(([kind, name, write]) => {
    const limit = limits[kind]
    if (limit === null) return []
    const used = use?.[kind] ?? null
    const text = used === null ? `at most ${write(limit)}` : `${write(used)} of ${write(limit)}`
    return [{ name, used, limit, text }]
  })
}

/** An empty field means: no bound. A text that is no number is told apart by NaN. */
export const boundFrom = (text: string): number | null => (text.trim() === '' ? null : Number(text))
