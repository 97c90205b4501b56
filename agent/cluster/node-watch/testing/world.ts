// Hosts and a log in virtual time: the production rules, loss policies and lease arithmetic, with doubled nodes.
import {
  type Actor,
  type ExperimentSpec,
  holdsResources,
  type Inventory,
  isFinal,
  type LossPolicy,
} from '../../../../contract/index.ts'
import { isOver } from '../../../node/lease/deadlines.ts'
import { apply } from '../../apply.ts'
import type { NodeLiveness } from '../../cluster.ts'
import type { Command } from '../../commands.ts'
import { waits } from '../../rules/gangs.ts'
import type { State, TaskRow } from '../../state.ts'
import { emptyState } from '../../transaction.ts'
import { gangsOf, workloadOf } from '../../workloads.ts'
import { judge } from '../../wire/judge.ts'
import { isMajority, vouchedFor } from '../../wire/renewals.ts'
import { drainsDue } from '../drains.ts'
import { lossesDue } from '../losses.ts'
import { Host } from './host.ts'

const GiB = 1024 ** 3
/** All three hosts vote. */
const confs = [[0, 1, 2]]
const system: Actor = { kind: 'system' }

export interface Faults {
  /** What a broken system would do; the test must notice. */
  readonly noKeeper?: boolean
  readonly impatient?: boolean
  readonly gullible?: boolean
  readonly forgetful?: boolean
}

/** Whole seconds pass; everything that happens is drawn from the seed. */
export class World {
  readonly hosts: readonly Host[]
  readonly random: () => number
  readonly faults: Faults
  state: State = emptyState
  now = 1_000
  /** Is there a leader that a majority follows? While there is none nothing can be written. */
  leading = true
  /** When the present leader was elected, and which heartbeats it took since. */
  electedAt = 0
  readonly heard = new Map<string, number>()
  /** Tasks that ran twice at once although their policy forbids it. */
  readonly overlaps: string[] = []
  #index = 0
  #submitted = 0

  constructor(random: () => number, faults: Faults = {}) {
    this.random = random
    this.faults = faults
    this.propose({
      type: 'cluster.create', id: 'c', name: 'lab', ca: 'pem', sealed_ca_key: 'x',
      admin: { name: 'admin', password_hash: 'x' }, node: { name: 'host-1', address: 'h1:1' },
    }) // prettier-ignore
    for (const n of [2, 3]) {
      this.propose({ type: 'joinToken.create', sha256: `t${n}`, expires_at: '2099-01-01T00:00:00.000Z' })
      this.propose({ type: 'node.join', token_sha256: `t${n}`, name: `host-${n}`, address: `h${n}:1` })
    }
    this.hosts = [1, 2, 3].map((n) => new Host(`node-${n}`, this))
    for (const host of this.hosts) host.tell()
  }

  chance(probability: number): boolean {
    return this.random() < probability
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random() * from.length)]
  }

  /** False when it was refused. The proposer's clock is wrong by up to ten minutes. */
  propose(command: Command): boolean {
    const wrong = (this.random() - 0.5) * 1200
    const at = new Date(Date.UTC(2026, 0, 1) + (this.now + wrong) * 1000).toISOString()
    const { state, outcome } = apply(this.state, ++this.#index, { v: 1, at, actor: system, command })
    this.state = state
    return !('problem' in outcome)
  }

  submit(): void {
    const policies: LossPolicy[] = [{ kind: 'hold' }, { kind: 'lease', seconds: 10 + Math.floor(this.random() * 10) }, { kind: 'replace-now' }] // prettier-ignore
    const replicas = 1 + Math.floor(this.random() * 3)
    const role = { replicas, command: ['x'], env: {}, resources: { cpu: 1, memory: 1, gpu: 0, disk: 0 } }
    const spec: ExperimentSpec = {
      name: 'x', type: 'script', tags: [], roles: { worker: role }, grace_seconds: Math.floor(this.random() * 5),
      loss_policy: this.pick(policies) ?? { kind: 'hold' },
      retries: { limit: Math.floor(this.random() * 4), backoff_seconds: 1, max_backoff_seconds: 5 },
      ...(this.chance(0.3) ? { roles: { worker: { ...role, replicas: 1 } }, array: { indices: [1, 2, 3], limit: 2 } } : {}),
    } // prettier-ignore
    this.propose({ type: 'experiment.create', id: `e${++this.#submitted}`, spec, owner: 'admin' })
  }

  /** One second of everybody, the hosts in any order. */
  tick(): void {
    this.now++
    for (const host of this.hosts.toSorted(() => this.random() - 0.5)) host.tick()
    if (this.leading) {
      this.#lead()
      this.#place()
    }
    this.#check()
  }

  /** What the leader does with each heartbeat. */
  #lead(): void {
    const table = new Map<string, NodeLiveness>()
    for (const { id } of this.hosts) {
      const silent_ms = (this.now - Math.max(this.electedAt, this.heard.get(id) ?? 0)) * 1000
      const row = this.state.nodes.get(id)
      const liveness = judge(silent_ms, false)
      if ((liveness === 'unreachable') !== Boolean(row?.unreachable_since))
        this.propose({ type: 'node.liveness', node: id, unreachable: liveness === 'unreachable', silent_ms })
      const hurried = this.faults.impatient ? 60_000 : 0
      table.set(id, { liveness, silent_ms: silent_ms + (silent_ms >= 8000 ? hurried : 0), usage: null })
    }
    const unrenewed = (node: string) => (this.faults.forgetful ? Infinity : this.#sinceRenewed(node))
    for (const command of lossesDue(this.state, table, unrenewed)) this.propose(command)
    for (const command of drainsDue(this.state, Date.UTC(2026, 0, 1) + this.now * 1000)) this.propose(command)
  }

  #sinceRenewed(node: string): number {
    const ages = this.hosts.flatMap((host, member): [number, number][] =>
      host.alive && host.link === 'up' ? [[member, host.told.age(node, this.now * 1000)]] : [],
    )
    return vouchedFor(confs, new Map(ages))
  }

  /** Does a majority of the voters say that there is no leader? */
  confirmsLeaderless(asks: Host): boolean {
    const reached = this.hosts.filter((host) => host === asks || (host.alive && host.link !== 'down'))
    const without = reached.filter((host) => host.confirmsLeaderless(asks.id))
    return isMajority(confs, new Set(without.map((host) => this.hosts.indexOf(host))))
  }

  /** Anywhere that answers: who goes where does not matter here. */
  #place(): void {
    for (const { id } of this.state.experiments.values()) {
      const workload = workloadOf(this.state, id)
      if (!workload || isFinal(workload.state)) continue
      const tasks = workload.tasks.flatMap((task) => this.state.tasks.get(task) ?? [])
      for (const gang of gangsOf(workload, tasks)) {
        const waiting = gang.filter(waits)
        const placements = waiting.map(({ id: task, attempt }) => ({
          task, attempt: attempt + 1, node: this.#anyNode(), runtime: 'process' as const, gpus: [],
        })) // prettier-ignore
        if (waiting.length) this.propose({ type: 'workload.place', id, placements })
      }
    }
  }

  #anyNode(): string {
    const fresh = this.hosts.filter(({ id }) => this.now - (this.heard.get(id) ?? 0) < 4)
    return this.pick(fresh)?.id ?? 'node-1'
  }

  /** The truth is on the hosts, not in the state. */
  #check(): void {
    const running = new Map<string, string[]>()
    for (const host of this.hosts)
      for (const { task, attempt } of host.running.values())
        running.set(task, [...(running.get(task) ?? []), `${attempt} on ${host.id}`])
    for (const [task, where] of running) {
      const policy = this.policyOf(task)
      if (where.length > 1 && policy !== 'replace-now')
        this.overlaps.push(`${this.now}: ${task} (${String(policy)}) runs as ${where.join(' and ')}`)
    }
  }

  policyOf(task: string): LossPolicy['kind'] | undefined {
    return workloadOf(this.state, task.split('-')[0] ?? '')?.loss_policy.kind
  }

  /** A lease as its node knows it. */
  leaseOver(state: State, task: TaskRow, heard: number): boolean {
    const policy = workloadOf(state, task.workload)?.loss_policy
    return policy?.kind === 'lease' && isOver(policy, heard * 1000, this.now * 1000)
  }

  /** Every task that holds resources runs on the node it stands on, and nothing else runs. */
  unsettled(): string[] {
    const held = [...this.state.tasks.values()].filter(({ state }) => holdsResources(state))
    const lost = held.filter(({ id, attempt, node }) => {
      const host = this.hosts.find((one) => one.id === node)
      return host?.running.get(id)?.attempt !== attempt
    })
    const extra = this.hosts.flatMap((host) =>
      [...host.running.values()].filter(({ task }) => this.state.tasks.get(task)?.node !== host.id),
    )
    return [...lost.map(({ id }) => `${id} is lost`), ...extra.map(({ task }) => `${task} runs unwanted`)]
  }

  reportOf(node: string, boot: string): Command {
    return {
      type: 'node.report', node, address: `${node}:1`, boot_id: boot, gpus: [],
      inventory: { runtimes: ['process'], default_image: null, gpus: [] } as unknown as Inventory,
      allocatable: { cpu: 6, memory: GiB, gpu: 0, disk: GiB },
    } // prettier-ignore
  }
}
