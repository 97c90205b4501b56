import { type ExperimentSpec, type PriorityClass } from '../../contract/index.ts'
import { Rng } from '../../raft/testing/rng.ts'
import { GiB, type HostSpec } from './lab.ts'

/** One line of a trace. Times in seconds. */
export interface Job {
  readonly id: string
  readonly at: number
  readonly owner: string
  readonly team: string | null
  readonly priority: PriorityClass
  readonly tasks: number
  /** Of each task. */
  readonly gpus: number
  readonly cpus: number
  readonly memoryGib: number
  readonly seconds: number
  /** null: none. */
  readonly limit: number | null
}

export function specOf(job: Job): ExperimentSpec {
  const resources = { cpu: job.cpus, memory: job.memoryGib * GiB, gpu: job.gpus, disk: 0 }
  return {
    name: job.id, type: 'script', tags: [], priority: job.priority, grace_seconds: 30,
    ...(job.team === null ? {} : { team: job.team }),
    ...(job.limit === null ? {} : { timeout_seconds: job.limit }),
    roles: { worker: { replicas: job.tasks, resources, command: ['train'], env: {} } },
  } // prettier-ignore
}

export interface Mix {
  readonly seed: number
  readonly days: number
  readonly gpus: number
  /** Of all GPU time that there is, what is asked for. */
  readonly load: number
  readonly teams: readonly string[]
  readonly usersPerTeam: number
  /** Of all jobs, without a GPU. */
  readonly cpuOnly: number
}

export const usualMix = {
  load: 0.95,
  teams: ['bio', 'nlp', 'robots', 'vision'],
  usersPerTeam: 4,
  cpuOnly: 0.1,
}

/** Hosts of eight GPUs each, the last with what is left. */
export function hostsFor(gpus: number, perHost = 8): HostSpec[] {
  return Array.from({ length: Math.ceil(gpus / perHost) }, (_, at) => ({
    name: `host-${at + 1}`,
    cpus: 64,
    memoryGib: 512,
    gpus: Math.min(perHost, gpus - at * perHost),
    model: 'NVIDIA A100-SXM4-40GB',
    gpuMemoryGib: 40,
  }))
}

const day = 86_400
/** GPUs of one task, tasks: what labs submit, by how often. */
const sizes: readonly (readonly [weight: number, gpus: number, tasks: number])[] = [
  [0.7, 1, 1], [0.09, 2, 1], [0.06, 4, 1], [0.1, 8, 1], [0.03, 8, 2], [0.02, 4, 4],
] // prettier-ignore

/**
 * What a lab submits: arrivals follow the day, run times are log-normal with many short failures, and limits are
 * stated two to five times too long.
 */
export function generate({ seed, days, gpus, load, teams, usersPerTeam, cpuOnly }: Mix): Job[] {
  const rng = new Rng(seed)
  const drawn: Omit<Job, 'at' | 'id'>[] = []
  let work = 0
  while (work < gpus * days * day * load) {
    const job = draw(rng, { gpus, teams, usersPerTeam, cpuOnly })
    work += job.gpus * job.tasks * job.seconds
    drawn.push(job)
  }
  const times = drawn.map(() => arrival(rng, days)).toSorted((a, b) => a - b)
  return drawn.map((job, at) => ({
    ...job,
    id: `job-${String(at + 1).padStart(6, '0')}`,
    at: times[at] ?? 0,
  }))
}

function draw(
  rng: Rng,
  { gpus: all, teams, usersPerTeam, cpuOnly }: Pick<Mix, 'gpus' | 'teams' | 'usersPerTeam' | 'cpuOnly'>,
) {
  const team = teams.length ? rng.pick(teams) : null
  const isCpu = rng.float() < cpuOnly
  const [, perTask, count] = isCpu ? [0, 0, 1] : pick(rng, all)
  const fails = rng.float() < 0.3
  const seconds = Math.max(20, Math.round(fails ? 300 * rng.float() : logNormal(rng, Math.log(2400), 1.4)))
  const bounded = Math.min(seconds, 2 * day)
  const owner = `${team ?? 'user'}-${rng.int(usersPerTeam) + 1}`
  const limit = Math.max(600, Math.ceil((bounded * (2 + 3 * rng.float())) / 300) * 300)
  const chance = rng.float()
  return {
    owner,
    team,
    priority: chance < 0.1 ? ('low' as const) : chance < 0.95 ? ('normal' as const) : ('high' as const),
    tasks: count,
    gpus: perTask,
    cpus: perTask ? perTask * 6 : 4,
    memoryGib: perTask ? perTask * 48 : 16,
    seconds: bounded,
    limit,
  }
}

function pick(rng: Rng, all: number): readonly [number, number, number] {
  let chance = rng.float()
  for (const size of sizes) {
    chance -= size[0]
    if (chance < 0) return size[1] * size[2] <= all ? size : [0, 1, 1]
  }
  return [0, 1, 1]
}

/** Seconds: more by day than by night. */
function arrival(rng: Rng, days: number): number {
  for (;;) {
    const at = rng.float() * days * day
    const hour = (at % day) / 3600
    if (rng.float() < 0.6 + 0.4 * Math.sin(((hour - 8) / 24) * 2 * Math.PI)) return Math.round(at)
  }
}

function logNormal(rng: Rng, mean: number, deviation: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - rng.float())) * Math.cos(2 * Math.PI * rng.float())
  return Math.exp(mean + deviation * normal)
}
