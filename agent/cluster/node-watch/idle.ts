import type { NodeLiveness } from '../cluster.ts'
import type { Command } from '../commands.ts'
import type { State, TaskRow } from '../state.ts'

type Idle = Extract<Command, { type: 'task.idle' }>

/** A GPU that is used no more than this, percent, does nothing: drivers show a little for a mere context. */
const idlePercent = 2
/** People are told after so long. */
export const idleNoticeSeconds = 600

/** Since when the GPUs of running tasks do nothing, on this leader's clock; a new leader counts anew. */
export class IdleWatch {
  /** `at`: since when, moved on by the time in which nothing was measured; `seen`: the last look. */
  readonly #since = new Map<string, { at: number; seen: number; told: number }>()

  /** `now`: milliseconds on a clock that never jumps. */
  look(state: State, liveness: ReadonlyMap<string, NodeLiveness>, now: number): Idle[] {
    const running = [...state.tasks.values()].filter(({ state: is, gpus }) => is === 'Running' && gpus.length)
    const keys = new Set(running.map(keyOf))
    for (const key of this.#since.keys()) if (!keys.has(key)) this.#since.delete(key)
    return running.flatMap((task) => this.#judge(state, task, liveness.get(task.node ?? ''), now) ?? [])
  }

  #judge(state: State, task: TaskRow, node: NodeLiveness | undefined, now: number): Idle | undefined {
    const key = keyOf(task)
    const idle = isIdle(task, node)
    if (idle === false) {
      this.#since.delete(key)
      return undefined
    }
    const known = this.#since.get(key) ?? { at: now, seen: now, told: 0 }
    // Nothing measured is neither idle nor busy: what a node did in silence is not held against its tasks.
    if (idle === undefined) known.at += now - known.seen
    known.seen = now
    if (idle === undefined) return undefined
    this.#since.set(key, known)
    const seconds = Math.floor((now - known.at) / 1000)
    const stop = state.experiments.get(task.workload)?.spec.idle_stop_seconds ?? Infinity
    const next = known.told === 0 ? Math.min(idleNoticeSeconds, stop) : known.told < stop ? stop : Infinity
    if (seconds < next) return undefined
    known.told = Math.max(next, 1)
    return { type: 'task.idle', task: task.id, attempt: task.attempt, idle_seconds: seconds }
  }
}

const keyOf = ({ id, attempt }: TaskRow) => `${id} ${attempt}`

function isIdle(task: TaskRow, node: NodeLiveness | undefined): boolean | undefined {
  if (!node?.usage || node.liveness !== 'ready') return undefined
  const used = task.gpus.map(
    (uuid) => node.usage?.gpus.find((gpu) => gpu.uuid === uuid)?.utilization_percent ?? null,
  )
  if (used.some((percent) => percent !== null && percent > idlePercent)) return false
  return used.includes(null) ? undefined : true
}
