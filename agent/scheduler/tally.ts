import type { State, TaskRow } from '../cluster/state.ts'
import { nothingUsed, subjectsOf, type Use } from '../cluster/rules/quota.ts'
import { billOf, decayed, weightOf } from '../cluster/rules/shares.ts'
import type { Workload } from '../cluster/workloads.ts'

/** What somebody's tasks hold now, and are billed for. */
interface Held extends Use {
  /** Σ over running tasks of what each is billed a second, in hundredths of a GPU; and of that times its start. */
  billed: number
  billedSince: number
}

const none: Readonly<Held> = { ...nothingUsed, billed: 0, billedSince: 0 }
/** Seconds count from here: whole hundredths times whole seconds add up exactly, in whatever order tasks come and go. */
const epoch = 1_700_000_000

/** Who holds how much: kept up to date task by task, so that quotas and shares cost nothing to ask. */
export class Tally {
  readonly #held = new Map<string, Held>()

  of(subject: string): Readonly<Use> {
    return this.#held.get(subject) ?? none
  }

  task(workload: Workload, task: TaskRow, sign: 1 | -1): void {
    const { cpu, memory, disk, gpu } = task.resources
    const bill = sign * Math.round(billOf(task) * 100)
    const since =
      task.started_at === null ? undefined : Math.floor(Date.parse(task.started_at) / 1000) - epoch
    for (const subject of subjectsOf(workload)) {
      const held = this.#of(subject)
      held.gpu += sign * gpu
      held.cpu += sign * Math.round(cpu * 1000)
      held.memory += sign * memory
      held.disk += sign * disk
      if (since === undefined) continue
      held.billed += bill
      held.billedSince += bill * since
    }
  }

  running(workload: Workload, sign: 1 | -1): void {
    for (const subject of subjectsOf(workload)) this.#of(subject).running += sign
  }

  /** Decayed GPU-seconds so far by weight, those of running tasks included. */
  share(state: Pick<State, 'shares' | 'quotas'>, subject: string, now: number): number {
    const row = state.shares.get(subject)
    const past = row ? decayed(row.gpu_seconds, (now - Date.parse(row.at)) / 1000) : 0
    const { billed, billedSince } = this.#held.get(subject) ?? none
    const running = Math.max(0, (billed * (now / 1000 - epoch) - billedSince) / 100)
    return (past + running) / weightOf(state, subject)
  }

  #of(subject: string): Held {
    let held = this.#held.get(subject)
    if (!held) this.#held.set(subject, (held = { ...none }))
    return held
  }
}
