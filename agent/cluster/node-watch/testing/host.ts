import { holdsResources, isFinal } from '../../../../contract/index.ts'
import type { TaskReport } from '../../commands.ts'
import type { State, TaskRow } from '../../state.ts'
import { workloadOf } from '../../workloads.ts'
import { Told } from '../../wire/renewals.ts'
import type { World } from './world.ts'

interface Container {
  readonly task: string
  readonly attempt: number
  /** Gone by then: it was sent SIGTERM, and takes some of its grace. */
  endsAt: number
  stopped: TaskReport['reason'] | null
}

/** A doubled node: an agent that does what the reconciler does, a keeper, and containers that outlive both. */
export class Host {
  readonly id: string
  readonly running = new Map<string, Container>()
  /** deposed: it hears only a leader that does not know that it is none any more; aside: all but the leader. */
  link: 'up' | 'down' | 'deposed' | 'aside' = 'up'
  deposedAt = 0
  alive = true
  on = true
  /** Whom it told, as a voter, that there is no leader. */
  told: Told
  #boot = 1
  #heard: number
  #known: State
  /** Noted before a start, for the keeper. */
  #leases: TaskRow[] = []
  #reports: TaskReport[] = []
  readonly #begun = new Set<string>()
  readonly #world: World

  constructor(id: string, world: World) {
    this.id = id
    this.#world = world
    this.#heard = world.now
    this.told = new Told(world.now * 1000)
    this.#known = world.state
  }

  tell(): void {
    this.#world.propose(this.#world.reportOf(this.id, `${this.id}-${this.#boot}`))
  }

  kill(): void {
    this.alive = false
  }

  revive(): void {
    if (this.alive || !this.on) return
    this.alive = true
    this.told = new Told(this.#world.now * 1000)
  }

  /** As a voter, asked by that node. */
  confirmsLeaderless(node: string): boolean {
    const hears = (this.link === 'up' && this.#world.leading) || this.link === 'deposed'
    if (!hears) this.told.tell(node, this.#world.now * 1000)
    return !hears
  }

  get #led(): boolean {
    return this.link === 'up' && this.#world.leading
  }

  powerOff(): void {
    this.on = this.alive = false
    this.running.clear()
  }

  powerOn(): void {
    if (this.on) return
    this.on = true
    this.revive()
    this.#boot++
    this.#begun.clear()
    this.#leases = []
    this.#heard = this.#world.now
    // What ended with the host is told by its boot, not by a report.
    this.#reports = []
  }

  tick(): void {
    const { now } = this.#world
    for (const [key, one] of this.running) if (one.endsAt <= now) this.#ended(key, one)
    if (!this.on) return
    if (!this.#world.faults.noKeeper)
      for (const task of this.#leases)
        if (this.#world.leaseOver(this.#known, task, this.#heard + 3))
          this.#stop(task.id, task, 'lease_expired')
    if (!this.alive) return
    this.#beat()
    this.#obey()
    if (this.#led) this.#deliver()
  }

  #beat(): void {
    const { now, heard, electedAt } = this.#world
    // A leader that was deposed answers with the time since a majority last confirmed it.
    if (this.link === 'deposed') {
      const confirmed = this.#world.faults.gullible ? now : Math.min(this.deposedAt, electedAt)
      this.#heard = Math.max(this.#heard, confirmed)
      return
    }
    if (!this.#led) {
      if (this.link !== 'down' && this.#world.confirmsLeaderless(this)) this.#heard = now
      return
    }
    if (this.#world.state.nodes.get(this.id)?.boot_id !== `${this.id}-${this.#boot}`) this.tell()
    this.#known = this.#world.state
    heard.set(this.id, now)
    this.#heard = now
  }

  #obey(): void {
    const mine = [...this.#known.tasks.values()].filter(
      ({ node, state }) => node === this.id && holdsResources(state),
    )
    for (const task of mine) {
      const container = this.running.get(task.id)
      const stop = workloadOf(this.#known, task.workload)?.stop_requested
      if (container?.attempt === task.attempt) {
        if (stop || task.evict) this.#stop(task.id, task, 'evicted')
        else if (this.#world.leaseOver(this.#known, task, this.#heard))
          this.#stop(task.id, task, 'lease_expired')
      } else if (!container && this.#led) this.#begin(task, Boolean(stop || task.evict))
    }
    if (!this.#led) return
    // The newest state does not want it here.
    for (const [id, { attempt }] of this.running) {
      const row = this.#known.tasks.get(id)
      if (row?.node !== this.id || row.attempt !== attempt || isFinal(row.state))
        this.#stop(id, row, 'unwanted')
    }
  }

  #begin(task: TaskRow, unwanted: boolean): void {
    const key = `${task.id} ${task.attempt}`
    const told = this.#reports.some((report) => report.task === task.id && report.attempt === task.attempt)
    if (told || this.#begun.has(key) || this.#world.chance(0.3)) return
    const report = { type: 'task.report', task: task.id, attempt: task.attempt, node: this.id } as const
    if (unwanted) {
      this.#reports.push({ ...report, state: 'Stopped' })
      return
    }
    const announced = {
      ...report,
      state: 'Starting' as const,
      token_sha256: key,
      boot_id: `${this.id}-${this.#boot}`,
    }
    this.#world.propose(announced)
    const row = this.#world.state.tasks.get(task.id)
    const agreed = row?.attempt === task.attempt && row.node === this.id && row.token_sha256 === key
    if (!agreed || isFinal(row.state)) return
    this.#begun.add(key)
    this.#leases = [...this.#leases.filter(({ id }) => id !== task.id), task]
    const lasts = 5 + Math.floor(this.#world.random() * 200)
    this.running.set(task.id, {
      task: task.id,
      attempt: task.attempt,
      endsAt: this.#world.now + lasts,
      stopped: null,
    })
    this.#reports.push({ ...report, state: 'Running' })
  }

  #stop(id: string, task: TaskRow | undefined, code: string): void {
    const container = this.running.get(id)
    if (!container || container.stopped) return
    const workload = task && workloadOf(this.#known, task.workload)
    const grace = Math.max(workload?.grace_seconds ?? 0, task?.evict?.grace_seconds ?? 0)
    container.stopped = { code, message: code }
    const takes = 1 + Math.floor(this.#world.random() * (grace + 1))
    container.endsAt = Math.min(container.endsAt, this.#world.now + takes)
  }

  #ended(id: string, { task, attempt, stopped }: Container): void {
    this.running.delete(id)
    this.#leases = this.#leases.filter((lease) => lease.id !== id)
    if (stopped?.code === 'unwanted') return
    const state =
      stopped?.code === 'evicted' ? 'Stopped' : stopped || this.#world.chance(0.3) ? 'Failed' : 'Succeeded'
    const reason = stopped ?? { code: 'exit_code', message: 'it failed' }
    this.#reports.push({ type: 'task.report', task, attempt, node: this.id, state, reason })
  }

  /** In any order, some twice, some later again: what was taken or refused for good is not kept. */
  #deliver(): void {
    const late = this.#reports.splice(0).toSorted(() => this.#world.random() - 0.5)
    for (const report of late) {
      if (this.#world.chance(0.2)) this.#reports.push(report)
      this.#world.propose(report)
      // A lost answer: it is sent once more.
      if (this.#world.chance(0.2)) this.#reports.push(report)
    }
  }
}
