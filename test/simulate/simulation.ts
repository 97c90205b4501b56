import { holdsResources, isFinal } from '../../contract/index.ts'
import { type Job, specOf } from './jobs.ts'
import { type HostSpec, Lab } from './lab.ts'
import { Meter } from './meter.ts'
import type { Policy } from './policies.ts'

/** What happens at a time, in order of time and then of entry. */
interface Happening {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

export interface SimulationOptions {
  readonly hosts: readonly HostSpec[]
  readonly jobs: readonly Job[]
  readonly policy: Policy
  /** Weights of teams; absent: all alike. */
  readonly weights?: Readonly<Record<string, number>>
  /** Called after every decision, before anything else happens. */
  readonly check?: (lab: Lab) => void
  /** Nothing more happens after so many seconds. */
  readonly untilSeconds?: number
  /** Seconds between decisions when nothing happens but time. */
  readonly tickSeconds?: number
}

/** Runs jobs through a policy and the production rules in virtual time. */
export class Simulation {
  readonly lab: Lab
  readonly meter: Meter
  readonly #options: SimulationOptions
  readonly #begin: number
  readonly #queue: Happening[] = []
  readonly #jobs = new Map<string, Job>()
  readonly #ends = new Map<string, number>()
  #order = 0

  constructor(options: SimulationOptions) {
    this.#options = options
    this.lab = new Lab(options.hosts)
    this.#begin = this.lab.now
    for (const [team, weight] of Object.entries(options.weights ?? {})) setWeight(this.lab, team, weight)
    const last = options.jobs.reduce((latest, { at }) => Math.max(latest, at), 0)
    const horizon = this.#begin + Math.min(last, options.untilSeconds ?? Infinity) * 1000
    this.meter = new Meter(options.hosts, this.#begin, horizon)
    for (const job of options.jobs) {
      this.#jobs.set(job.id, job)
      this.#at(this.#begin + job.at * 1000, () => this.#submit(job))
    }
  }

  run(): Meter {
    const { tickSeconds = 600, untilSeconds = Infinity } = this.#options
    const until = this.#begin + untilSeconds * 1000
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      const at = this.lab.index.lanes.size ? Math.min(next.at, this.lab.now + tickSeconds * 1000) : next.at
      if (at > until) break
      this.meter.pass(this.lab, at)
      this.lab.now = at
      while (this.#queue[0] && this.#queue[0].at <= at) pop(this.#queue)?.run()
      this.#decide()
      this.#options.check?.(this.lab)
    }
    return this.meter
  }

  #at(at: number, run: () => void): void {
    push(this.#queue, { at, order: this.#order++, run })
  }

  #submit(job: Job): void {
    this.lab.submit(job.id, specOf(job), job.owner)
    this.meter.submitted(job, this.lab.now)
  }

  /** Until nothing more is decided: what was freed by one decision may allow the next. */
  #decide(): void {
    for (let round = 0; round < 20; round++) {
      const begun = performance.now()
      const commands = this.#options.policy(this.lab)
      this.meter.decided(commands.length, performance.now() - begun)
      let taken = 0
      for (const command of commands) {
        if (this.lab.propose(command) !== undefined) continue
        taken++
        if (command.type === 'workload.place') this.#begun(command.id)
        if (command.type === 'workload.preempt')
          for (const { workload } of command.victims) this.#leave(workload)
      }
      if (!taken) return
    }
  }

  #begun(id: string): void {
    const job = this.#jobs.get(id)
    if (!job) return
    for (const task of this.#tasks(id)) if (task.state === 'Starting') this.lab.begin(task.id)
    this.meter.started(job, this.lab.now)
    const seconds = Math.min(job.seconds, job.limit ?? Infinity)
    this.#endAt(id, this.lab.now + seconds * 1000)
  }

  /** Asked to leave: it does so at the end of its grace, or when it ends by itself before. */
  #leave(id: string): void {
    const natural = this.#ends.get(id) ?? Infinity
    this.#endAt(id, Math.min(natural, this.lab.now + 30_000))
  }

  #endAt(id: string, at: number): void {
    this.#ends.set(id, at)
    this.#at(at, () => {
      if (this.#ends.get(id) !== at) return
      this.#ends.delete(id)
      this.#end(id)
    })
  }

  #end(id: string): void {
    const job = this.#jobs.get(id)
    const running = this.#tasks(id).filter((task) => holdsResources(task.state))
    const isLeaving = running.some((task) => task.evict)
    for (const task of running) this.lab.end(task.id, task.evict ? 'Stopped' : 'Succeeded')
    if (!job) return
    this.meter.ended(job, this.lab.now, isLeaving)
    if (!this.#tasks(id).every((task) => isFinal(task.state))) return
    this.lab.must({ type: 'experiment.delete', id })
  }

  #tasks(id: string) {
    return (
      this.lab.state.experiments.get(id)?.tasks.flatMap((task) => this.lab.state.tasks.get(task) ?? []) ?? []
    )
  }
}

/** As the admin's quota would. */
function setWeight(lab: Lab, team: string, weight: number): void {
  const limits = {
    gpu: null, cpu: null, memory: null, disk: null, running: null, gpu_hours_month: null, money_month: null,
  } // prettier-ignore
  const row = { limits, guaranteed_gpu: 0, weight, resource_version: 0 }
  lab.state = { ...lab.state, quotas: lab.state.quotas.set(`team:${team}`, row) }
}

const before = (a: Happening, b: Happening) => a.at < b.at || (a.at === b.at && a.order < b.order)

/** A binary heap. */
function push(heap: Happening[], one: Happening): void {
  heap.push(one)
  for (let at = heap.length - 1; at > 0;) {
    const parent = (at - 1) >> 1
    const [above, below] = [heap[parent], heap[at]]
    if (!above || !below || !before(below, above)) return
    heap[parent] = below
    heap[at] = above
    at = parent
  }
}

function pop(heap: Happening[]): Happening | undefined {
  const first = heap[0]
  const last = heap.pop()
  if (!last || !heap.length) return first
  heap[0] = last
  for (let at = 0; ;) {
    const left = 2 * at + 1
    const [l, r] = [heap[left], heap[left + 1]]
    if (!l) return first
    const least = r && before(r, l) ? left + 1 : left
    const [above, below] = [heap[at], heap[least]]
    if (!above || !below || !before(below, above)) return first
    heap[at] = below
    heap[least] = above
    at = least
  }
}
