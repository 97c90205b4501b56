import { describe, expect, it } from 'vitest'
import { holdsResources, type ProblemError } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { TaskRow } from '../state.ts'
import type { Replica } from '../testing/replica.ts'
import { cluster, day, GiB, hour, placement, submission } from '../testing/replica.ts'
import { workloadOf } from '../workloads.ts'
import { monthUseOf } from './quota.ts'

/** Commands in all; `SUBMARINE_COMMANDS=100000` for the long form. */
const commands = Number(process.env.SUBMARINE_COMMANDS ?? 10_000)
const perRun = 1000

/** mulberry32: the same seed gives the same run on every machine. */
function randomOf(seed: number) {
  let a = seed
  const next = () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T
  return { next, below, pick }
}
type Random = ReturnType<typeof randomOf>

const users = ['ana', 'bob', 'eve']
const teams = ['a', 'b']
const nodes = ['node-1', 'node-2', 'node-3']
const devices = [4, 2, 3]
const queues = ['default', 'fast', 'none']

const waiting = (replica: Replica) =>
  [...replica.state.tasks.values()].filter(({ state }) => state === 'Accepted' || state === 'Queued')
const holding = (replica: Replica) =>
  [...replica.state.tasks.values()].filter(({ state }) => holdsResources(state))

function someGpus(random: Random, count: number): string[] {
  const all = devices.flatMap((n, at) => Array.from({ length: n }, (_, index) => `GPU-${at + 1}-${index}`))
  // Now and then one twice, one of another node, or one that nobody has.
  return Array.from({ length: Math.max(0, count + (random.below(8) ? 0 : random.below(3) - 1)) }, () =>
    random.below(50) ? random.pick(all) : 'GPU-unknown',
  )
}

function honestGpus(replica: Replica, random: Random, node: string, count: number): string[] {
  const held = new Set(holding(replica).flatMap(({ gpus }) => gpus))
  const free = (replica.state.nodes.get(node)?.gpus ?? []).filter((uuid) => !held.has(uuid))
  return free.toSorted(() => random.next() - 0.5).slice(0, count)
}

function somePlacement(replica: Replica, random: Random): Command {
  const task = random.pick(waiting(replica))
  const id = task.workload
  const row = replica.state.experiments.get(id)
  const all = random.below(10) ? (row?.spec.array ? [task.id] : (row?.tasks ?? [])) : [task.id, task.id]
  const malicious = random.below(4) === 0
  const on = all.map((name) => {
    const node = random.pick(nodes)
    const { gpu = 0 } = replica.state.tasks.get(name)?.resources ?? {}
    return [name, random.below(60) ? node : 'node-9', malicious ? someGpus(random, gpu) : honestGpus(replica, random, node, gpu)] as const
  }) // prettier-ignore
  const command = placement(replica.state, id, on) as Extract<Command, { type: 'workload.place' }>
  if (!malicious || random.below(3)) return command
  return { ...command, placements: command.placements.map((each) => ({ ...each, attempt: each.attempt + random.below(3) - 1 })) } // prettier-ignore
}

function someSubmission(random: Random, id: string): Command {
  const team = random.below(3) ? random.pick(teams) : undefined
  const queue = random.below(3) ? undefined : random.pick(queues)
  return submission(id, {
    owner: random.pick(users),
    gpu: random.below(3),
    cpu: random.pick([0.1, 1, 7, 33]),
    replicas: random.pick([1, 1, 2, 4]),
    ...(random.below(5) ? {} : { array: { indices: [1, 2, 3], limit: 2 } }),
    ...(team ? { team } : {}),
    ...(queue ? { queue } : {}),
    ...(random.below(2) ? { timeout_seconds: random.pick([600, 7200, 90_000]) } : {}),
    ...(random.below(4) ? {} : { priority: random.pick(['low', 'high']) }),
    ...(random.below(3) ? {} : { retries: { limit: 2, backoff_seconds: 0, max_backoff_seconds: 0 } }),
  })
}

function someReservation(replica: Replica, random: Random, id: string): Command {
  const from = replica.now + random.below(48) * hour
  const time = (at: number) => new Date(at).toISOString()
  return {
    type: 'reservation.create', id, name: id, holders: [random.below(2) ? `user:${random.pick(users)}` : `team:${random.pick(teams)}`],
    nodes: [random.pick(nodes)], gpus: random.below(2) ? null : 1 + random.below(4), starts_at: time(from),
    ends_at: time(from + (random.below(20) - 1) * hour), over_running: false,
  } // prettier-ignore
}

function someQuota(random: Random): Command {
  const subject = random.pick(['cluster', 'user:*', 'team:*', ...users.map((name) => `user:${name}`), ...teams.map((name) => `team:${name}`)]) // prettier-ignore
  const limit = (most: number) => (random.below(3) ? random.below(most) : null)
  const limits = { gpu: limit(9), cpu: limit(90), running: limit(7), gpu_hours_month: random.below(4) ? null : random.below(400) } // prettier-ignore
  return { type: 'quota.put', subject, change: { limits, guaranteed_gpu: random.below(3) } }
}

function someReport(replica: Replica, random: Random): Command {
  const task = random.pick(holding(replica))
  const states = ['Running', 'Running', 'Succeeded', 'Failed', 'Stopped'] as const
  const state = random.pick(states)
  return {
    type: 'task.report', task: task.id, attempt: task.attempt - (random.below(20) ? 0 : 1), node: random.below(20) ? (task.node ?? '') : random.pick(nodes), state,
    ...(state === 'Running' ? { started_at: replica.at } : { finished_at: replica.at }),
  } // prettier-ignore
}

function somePreemption(replica: Replica, random: Random): Command {
  const victims = [random.pick(holding(replica)).workload, ...(random.below(2) ? [random.pick(holding(replica)).workload] : [])] // prettier-ignore
  const id = random.pick(waiting(replica)).workload
  return { type: 'workload.preempt', id, victims: victims.map((workload) => ({ workload })), reason: { code: 'preempted', message: 'for others' } } // prettier-ignore
}

function someCommand(replica: Replica, random: Random, at: number): Command {
  const kind = random.below(100)
  const id = `w${at}`
  if (kind < 3) return someQuota(random)
  if (kind < 6) return someReservation(replica, random, id)
  if (kind < 7)
    return { type: 'reservation.delete', id: random.pick([...replica.state.reservations.keys(), 'none']) }
  if (kind < 8) return { type: 'queue.put', name: 'fast', change: { open: random.below(3) > 0, max_runtime_seconds: random.pick([null, 3600]), max_priority: 'normal' } } // prettier-ignore
  if (kind < 10)
    return { type: 'experiment.stop', id: random.pick([...replica.state.experiments.keys(), 'none']) }
  if (kind < 12)
    return { type: 'quota.delete', subject: random.pick([...replica.state.quotas.keys(), 'none']) }
  if (kind < 15 && waiting(replica).length && holding(replica).length) return somePreemption(replica, random)
  if (kind < 45 && holding(replica).length) return someReport(replica, random)
  if (kind < 80 && waiting(replica).length) return somePlacement(replica, random)
  return someSubmission(random, id)
}

/** Sums by plain counting, by another way than the rules take. */
function broken(replica: Replica, placed: readonly TaskRow[]): string[] {
  const faults: string[] = []
  const live = holding(replica)
  const uuids = live.flatMap(({ gpus }) => gpus)
  if (new Set(uuids).size !== uuids.length) faults.push('a device has two owners')
  for (const node of replica.state.nodes.values()) {
    const here = live.filter((task) => task.node === node.id)
    const sum = (kind: 'cpu' | 'memory' | 'disk' | 'gpu') =>
      here.reduce((all, task) => all + task.resources[kind], 0)
    for (const kind of ['cpu', 'memory', 'disk', 'gpu'] as const)
      if (sum(kind) > (node.allocatable?.[kind] ?? 0) + 1e-6) faults.push(`${node.id} has too little ${kind}`)
    if (here.some((task) => task.gpus.some((uuid) => !node.gpus.includes(uuid))))
      faults.push('a device of another node')
  }
  return [...faults, ...overQuotaFaults(replica, live, placed), ...reservedFaults(replica, live, placed)]
}

const ownerOf = (replica: Replica, task: TaskRow) => {
  const workload = workloadOf(replica.state, task.workload)
  return { user: `user:${workload?.owner}`, team: workload?.team == null ? '' : `team:${workload.team}` }
}

/** A quota may be set below what is held already; then nothing is placed on top. */
function overQuotaFaults(replica: Replica, live: readonly TaskRow[], placed: readonly TaskRow[]): string[] {
  const faults: string[] = []
  const subjects = new Set(placed.flatMap((task) => ['cluster', ...Object.values(ownerOf(replica, task))]))
  for (const subject of subjects) {
    const kind = subject.split(':')[0] ?? ''
    const row =
      replica.state.quotas.get(subject) ?? (subject ? replica.state.quotas.get(`${kind}:*`) : undefined)
    if (!row) continue
    const theirs = live.filter((task) => subject === 'cluster' || Object.values(ownerOf(replica, task)).includes(subject)) // prettier-ignore
    const asked = placed.reduce((sum, task) => sum + task.resources.gpu, 0)
    const gpus = theirs.reduce((sum, task) => sum + task.resources.gpu, 0)
    const cpu = theirs.reduce((sum, task) => sum + task.resources.cpu, 0)
    const running = new Set(theirs.map(({ workload }) => workload)).size
    const first = live.filter((task) => task.workload === placed[0]?.workload).length === placed.length
    if (row.limits.gpu !== null && asked > 0 && gpus > row.limits.gpu)
      faults.push(`GPUs over the quota of ${subject}`)
    if (row.limits.cpu !== null && cpu > row.limits.cpu + 1e-6)
      faults.push(`cores over the quota of ${subject}`)
    if (row.limits.running !== null && first && running > row.limits.running) faults.push(`workloads over the quota of ${subject}`) // prettier-ignore
    const { gpu_hours_month: hours } = row.limits
    if (hours !== null && monthUseOf(replica.state, subject, replica.now).gpu_hours >= hours) faults.push(`hours over the quota of ${subject}`) // prettier-ignore
  }
  return faults
}

function reservedFaults(replica: Replica, live: readonly TaskRow[], placed: readonly TaskRow[]): string[] {
  const faults: string[] = []
  for (const row of replica.state.reservations.values()) {
    if (row.starts_at > replica.at || replica.at >= row.ends_at) continue
    const isOwn = (task: TaskRow) =>
      Object.values(ownerOf(replica, task)).some((name) => row.holders.includes(name))
    for (const node of row.nodes) {
      const others = live.filter((task) => task.node === node && !isOwn(task))
      const came = placed.some(
        (task) => task.node === node && !isOwn(task) && (row.gpus === null || task.gpus.length),
      )
      const left =
        (replica.state.nodes.get(node)?.gpus.length ?? 0) - others.flatMap(({ gpus }) => gpus).length
      if (came && (row.gpus === null || left < row.gpus))
        faults.push(`placed inside the reservation ${row.name}`)
    }
  }
  return faults
}

function lab(): Replica {
  const replica = cluster(devices, { cpu: 48, memory: 12 * GiB })
  replica.do({ type: 'prices.put', change: { gpu: 1 } })
  return replica
}

/** One run; answers how many placements were taken and refused. */
function run(seed: number, count: number): { placed: number; refused: number } {
  const random = randomOf(seed)
  const replica = lab()
  const seen = { placed: 0, refused: 0 }
  for (let at = 0; at < count; at++) {
    replica.now += random.below(4) ? random.below(20 * 60_000) : random.below(day / 4)
    const command = someCommand(replica, random, at)
    const before = replica.state
    try {
      replica.do(command)
    } catch (error) {
      expect((error as ProblemError).code, String(error)).toBeTypeOf('string')
      if (replica.state !== before) throw new Error(`seed ${seed}, command ${at}: a refused ${command.type} changed the state`) // prettier-ignore
      if (command.type === 'workload.place') seen.refused++
      continue
    }
    const placed = command.type === 'workload.place' ? command.placements.flatMap(({ task }) => replica.state.tasks.get(task) ?? []) : [] // prettier-ignore
    if (placed.length) seen.placed++
    const faults = broken(replica, placed)
    if (faults.length)
      throw new Error(`seed ${seed}, command ${at} (${JSON.stringify(command)}): ${faults.join('; ')}`)
  }
  return seen
}

describe('whatever is asked for, by whomever', () => {
  it(`no device has two owners and nothing is over capacity, over quota or inside somebody else’s reservation (${commands} commands)`, () => {
    let [placed, refused] = [0, 0]
    for (let seed = 1; seed * perRun <= commands; seed++) {
      const seen = run(seed, perRun)
      placed += seen.placed
      refused += seen.refused
    }
    // Both ways were taken often enough to mean something.
    expect(placed).toBeGreaterThan(commands / 100)
    expect(refused).toBeGreaterThan(commands / 100)
  }, 600_000)
})
