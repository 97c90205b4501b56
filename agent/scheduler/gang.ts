import { isFinal } from '../../contract/index.ts'
import type { TaskRow } from '../cluster/state.ts'
import { gangsOf, type Workload } from '../cluster/workloads.ts'
import type { Shape, Shapes } from './shape.ts'

/** Tasks that start together or not at all, in rank order. */
export interface Gang {
  readonly workload: Workload
  readonly tasks: readonly TaskRow[]
  /** Its tasks by what they need, the most demanding first; ranks in order. */
  readonly parts: readonly Part[]
  /** Equal for gangs that fit the same places. */
  readonly family: string
  /** Whole GPUs, or shares of them, of all tasks. */
  readonly gpus: number
}

export interface Part {
  readonly shape: Shape
  readonly tasks: readonly TaskRow[]
}

const waiting = ({ state }: TaskRow) => state === 'Accepted' || state === 'Queued'

/** The gangs of a workload that wait: none of their tasks is placed, and some are not over. */
export function waitingGangs(workload: Workload, tasks: readonly TaskRow[], shapes: Shapes): Gang[] {
  const gangs: Gang[] = []
  for (const all of gangsOf(workload, tasks)) {
    const open = all.filter((task) => !isFinal(task.state))
    if (open.length && open.every(waiting)) gangs.push(gangOf(workload, open, shapes))
  }
  return gangs
}

export function gangOf(workload: Workload, tasks: readonly TaskRow[], shapes: Shapes): Gang {
  const byShape = new Map<Shape, TaskRow[]>()
  for (const task of tasks) {
    const shape = shapes.of(workload, task)
    const same = byShape.get(shape)
    if (same) same.push(task)
    else byShape.set(shape, [task])
  }
  const parts = [...byShape].map(([shape, of]) => ({ shape, tasks: of }))
  if (parts.length > 1) parts.sort((a, b) => demand(b.shape, a.shape))
  const counts = parts.map(({ shape, tasks: of }) => `${shape.id}x${of.length}`).join('+')
  const gpus = parts.reduce((sum, { shape, tasks: of }) => sum + of.length * gpusOf(shape), 0)
  const family = `${counts}${workload.placement === 'spread' ? ' spread' : ''}${workload.even ? ' even' : ''}`
  return { workload, tasks, parts, family, gpus }
}

export const gpusOf = (shape: Shape): number => shape.gpu || (shape.need?.share ? 1 : 0)

const demand = (a: Shape, b: Shape) =>
  gpusOf(a) - gpusOf(b) || a.memory - b.memory || a.cpu - b.cpu || b.id - a.id

/** When it is over at the latest, had it started now; Infinity when nobody knows. */
export function endOf({ limit_seconds, grace_seconds }: Workload, now: number): number {
  return limit_seconds === null ? Infinity : now + (limit_seconds + grace_seconds) * 1000
}
