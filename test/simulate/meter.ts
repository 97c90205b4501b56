import type { Job } from './jobs.ts'
import type { HostSpec, Lab } from './lab.ts'

interface Record {
  readonly job: Job
  readonly submitted: number
  started: number | null
  ended: number | null
  lastStart: number
}

/** What a job asks for, as the table groups it. */
export const sizeOf = ({ gpus, tasks }: Pick<Job, 'gpus' | 'tasks'>): string =>
  gpus === 0
    ? 'no GPU'
    : tasks > 1
      ? 'several nodes'
      : gpus === 1
        ? '1 GPU'
        : gpus <= 4
          ? '2–4 GPUs'
          : '5+ GPUs'
export const sizes = ['no GPU', '1 GPU', '2–4 GPUs', '5+ GPUs', 'several nodes']

export interface Figures {
  readonly utilisation: number
  readonly waits: ReadonlyMap<string, { readonly n: number; readonly mean: number; readonly p95: number }>
  readonly meanWait: number
  readonly boundedSlowdown: number
  readonly fairnessError: number
  readonly jain: number
  readonly fragmentation: number
  readonly idleWhileWaiting: number
  readonly preemptedGpuHours: number
  readonly longestWait: number
  readonly decisionsPerSecond: number
  readonly finished: number
  readonly unfinished: number
}

/** Reads a simulation as it goes. Times in ms, figures in seconds and fractions. */
export class Meter {
  readonly #records = new Map<string, Record>()
  readonly #gpus: number
  readonly #begin: number
  readonly #horizon: number
  #end: number
  #last: number
  #busy = 0
  #free = 0
  #unusable = 0
  #idle = 0
  #preempted = 0
  #decisions = 0
  #spent = 0
  readonly #byTeam = new Map<string, number>()

  /** After `horizon` work only runs out, which says nothing. */
  constructor(hosts: readonly HostSpec[], begin: number, horizon: number) {
    this.#gpus = hosts.reduce((sum, host) => sum + host.gpus, 0)
    this.#begin = begin
    this.#horizon = horizon
    this.#last = begin
    this.#end = begin
  }

  /** Time goes on to `now` with everything as it is. */
  pass({ index }: Lab, now: number): void {
    const seconds = (Math.min(now, this.#horizon) - this.#last) / 1000
    this.#last = now
    if (seconds <= 0) return
    let free = 0
    let unusable = 0
    for (const site of index.board.sites) {
      free += site.gpu
      for (const [size, weight] of [
        [1, 0.7],
        [2, 0.09],
        [4, 0.08],
        [8, 0.13],
      ] as const)
        // prettier-ignore
        unusable += weight * (site.gpu < size ? site.gpu : site.gpu % size)
    }
    const waits = [...index.lanes.byKey.values()].some(({ pool }) => pool === 'gpu')
    this.#busy += (this.#gpus - free) * seconds
    this.#free += free * seconds
    this.#unusable += unusable * seconds
    if (waits) this.#idle += free * seconds
    this.#end += seconds * 1000
    for (const { workload, tasks } of index.live.values()) {
      const gpus = tasks.reduce((sum, task) => sum + task.gpus.length, 0)
      const team = workload.team ?? ''
      this.#byTeam.set(team, (this.#byTeam.get(team) ?? 0) + gpus * seconds)
    }
  }

  submitted(job: Job, now: number): void {
    this.#records.set(job.id, { job, submitted: now, started: null, ended: null, lastStart: now })
  }

  started(job: Job, now: number): void {
    const record = this.#records.get(job.id)
    if (!record) return
    record.started ??= now
    record.lastStart = now
  }

  ended(job: Job, now: number, preempted: boolean): void {
    const record = this.#records.get(job.id)
    if (!record) return
    if (preempted) this.#preempted += (job.gpus * job.tasks * (now - record.lastStart)) / 1000
    else record.ended = now
  }

  decided(decisions: number, ms: number): void {
    this.#decisions += Math.max(1, decisions)
    this.#spent += ms / 1000
  }

  figures(weights: Readonly<globalThis.Record<string, number>> = {}): Figures {
    const records = [...this.#records.values()]
    const waits = new Map<string, { n: number; mean: number; p95: number }>()
    for (const size of sizes) {
      const all = records.filter(({ job }) => sizeOf(job) === size).map((one) => this.#wait(one))
      waits.set(size, { n: all.length, mean: mean(all), p95: quantile(all, 0.95) })
    }
    const all = records.map((one) => this.#wait(one))
    const span = ((this.#end - this.#begin) / 1000) * this.#gpus
    const shares = this.#shares(weights)
    return {
      utilisation: span ? this.#busy / span : 0,
      waits,
      meanWait: mean(all),
      boundedSlowdown: mean(records.map((one) => this.#slowdown(one))),
      fairnessError: Math.max(0, ...shares.map(({ had, due }) => Math.abs(had - due))),
      jain: jain(shares.map(({ had, due }) => had / due)),
      fragmentation: this.#free ? this.#unusable / this.#free : 0,
      idleWhileWaiting: span ? this.#idle / span : 0,
      preemptedGpuHours: this.#preempted / 3600,
      longestWait: Math.max(0, ...all),
      decisionsPerSecond: this.#spent ? this.#decisions / this.#spent : 0,
      finished: records.filter(({ ended }) => ended !== null).length,
      unfinished: records.filter(({ ended }) => ended === null).length,
    }
  }

  #wait({ submitted, started }: Record): number {
    return ((started ?? this.#last) - submitted) / 1000
  }

  /** How much longer than it runs it takes, in all; of short ones by ten minutes. */
  #slowdown({ job, submitted, ended }: Record): number {
    return Math.max(1, ((ended ?? this.#last) - submitted) / 1000 / Math.max(job.seconds, 600))
  }

  #shares(weights: Readonly<globalThis.Record<string, number>>) {
    const total = [...this.#byTeam.values()].reduce((sum, value) => sum + value, 0)
    const weight = (team: string) => weights[team] ?? 1
    const all = [...this.#byTeam.keys()].reduce((sum, team) => sum + weight(team), 0)
    return [...this.#byTeam].map(([team, value]) => ({ had: value / total, due: weight(team) / all }))
  }
}

const mean = (values: readonly number[]) =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0
}

function jain(values: readonly number[]): number {
  const sum = values.reduce((all, value) => all + value, 0)
  const squares = values.reduce((all, value) => all + value * value, 0)
  return squares ? (sum * sum) / (values.length * squares) : 1
}
