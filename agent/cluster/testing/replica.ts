// A state under commands, as the log would drive it, for tests of the rules.
import type {
  Actor,
  ExperimentSpec,
  Gpu,
  Inventory,
  ProblemError,
  Resources,
} from '../../../contract/index.ts'
import { apply } from '../apply.ts'
import type { Command, TaskReport } from '../commands.ts'
import type { State } from '../state.ts'
import { emptyState } from '../transaction.ts'

export const GiB = 1024 ** 3
export const hour = 3600_000
export const day = 24 * hour
const admin: Actor = { kind: 'user', name: 'admin', rank: 'admin' }

export class Replica {
  state: State = emptyState
  index = 0
  /** The proposer's clock, ms. */
  now = Date.parse('2026-03-10T00:00:00Z')
  readonly events: string[] = []

  get at(): string {
    return new Date(this.now).toISOString()
  }

  do(command: Command): unknown {
    const entry = { v: 1 as const, at: this.at, actor: admin, command }
    const { state, events, outcome } = apply(this.state, ++this.index, entry)
    this.state = state
    this.events.push(...events.map(({ code }) => code))
    if ('problem' in outcome) throw outcome.problem
    return outcome.value
  }

  /** Why it was refused: code and words; empty when it was not. */
  refusal(command: Command): string {
    try {
      this.do(command)
    } catch (error) {
      const { code, message, errors = [] } = error as ProblemError
      return [code, message, ...errors.map((each) => `${each.pointer} ${each.message}`)].join(': ')
    }
    return ''
  }

  submit(
    id: string,
    more: Partial<ExperimentSpec> & { owner?: string; gpu?: number; cpu?: number; replicas?: number } = {},
  ): void {
    this.do(submission(id, more))
  }

  place(id: string, on: readonly (readonly [task: string, node: string, gpus?: readonly string[]])[]): void {
    this.do(placement(this.state, id, on))
  }

  report(task: string, state: TaskReport['state'], more: Partial<TaskReport> = {}): void {
    const row = this.state.tasks.get(task)
    const node = row?.node ?? ''
    this.do({ type: 'task.report', task, attempt: row?.attempt ?? 0, node, state, ...more })
  }

  /** Placed and running since now. */
  run(id: string, node: string, gpus: readonly string[] = []): void {
    this.place(id, [[`${id}-worker-0`, node, gpus]])
    this.report(`${id}-worker-0`, 'Running', { started_at: this.at })
  }

  /** It ends after so many ms. */
  end(id: string, after: number, state: TaskReport['state'] = 'Succeeded'): void {
    this.now += after
    this.report(`${id}-worker-0`, state, { finished_at: this.at, exit_code: state === 'Succeeded' ? 0 : 1 })
  }
}

/** Hosts of so many GPUs each, named GPU-1-0, GPU-1-1 … on node-1. */
export function cluster(gpus: readonly number[], of: Partial<Resources> & { model?: string } = {}): Replica {
  const replica = new Replica()
  replica.do({
    type: 'cluster.create', id: 'c1', name: 'lab', ca: 'pem', sealed_ca_key: 'sealed',
    admin: { name: 'admin', password_hash: 'hash' }, node: { name: 'host-1', address: 'h1:7460' },
  }) // prettier-ignore
  gpus.forEach((count, at) => {
    const n = at + 1
    if (n > 1) {
      replica.do({ type: 'joinToken.create', sha256: `t${n}`, expires_at: '2027-01-01T00:00:00.000Z' })
      replica.do({ type: 'node.join', token_sha256: `t${n}`, name: `host-${n}`, address: `h${n}:7460` })
    }
    const { model = 'A100', ...resources } = of
    const devices = Array.from({ length: count }, (_, index): Gpu => ({ uuid: `GPU-${n}-${index}`, index, vendor: 'nvidia', model, memory: 40 * GiB })) // prettier-ignore
    replica.do({
      type: 'node.report', node: `node-${n}`, address: `h${n}:7460`, gpus: devices.map(({ uuid }) => uuid),
      inventory: { runtimes: ['docker'], default_image: 'base', gpus: devices } as unknown as Inventory,
      allocatable: { cpu: 64, memory: 256 * GiB, disk: 100 * GiB, ...resources, gpu: count },
    }) // prettier-ignore
  })
  return replica
}

export function submission(
  id: string,
  {
    owner = 'ana',
    gpu = 0,
    cpu = 1,
    replicas = 1,
    ...spec
  }: Partial<ExperimentSpec> & { owner?: string; gpu?: number; cpu?: number; replicas?: number } = {},
): Command {
  const role = { replicas, resources: { cpu, memory: GiB, gpu, disk: 0 }, command: ['true'], env: {} }
  return {
    type: 'experiment.create',
    id,
    owner,
    spec: { name: id, type: 'script', tags: [], roles: { worker: role }, ...spec },
  }
}

export function placement(
  { tasks }: Pick<State, 'tasks'>,
  id: string,
  on: readonly (readonly [task: string, node: string, gpus?: readonly string[]])[],
): Command {
  const placements = on.map(([task, node, gpus = []]) => ({
    task, node, gpus, runtime: 'docker' as const, attempt: (tasks.get(task)?.attempt ?? 0) + 1,
  })) // prettier-ignore
  return { type: 'workload.place', id, placements }
}
