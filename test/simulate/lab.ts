import { apply } from '../../agent/cluster/apply.ts'
import type { Applied, Command } from '../../agent/cluster/commands.ts'
import type { State } from '../../agent/cluster/state.ts'
import { emptyState } from '../../agent/cluster/transaction.ts'
import { ClusterIndex } from '../../agent/scheduler/cluster-index.ts'
import type { Actor, ExperimentSpec, Gpu, Inventory } from '../../contract/index.ts'

export const GiB = 1024 ** 3
const system: Actor = { kind: 'system' }

export interface HostSpec {
  readonly name: string
  readonly cpus: number
  readonly memoryGib: number
  readonly gpus: number
  readonly model: string
  readonly gpuMemoryGib: number
  /** To the host's other GPUs, by position. */
  readonly links?: (from: number, to: number) => NonNullable<Gpu['links']>[string] | undefined
}

/** A cluster in virtual time: the production rules over one state, and the planner's index that follows it. */
export class Lab {
  state: State = emptyState
  readonly index = new ClusterIndex()
  readonly refused: string[] = []
  /** ms. */
  now: number
  #entries = 0
  #hold: Pick<Applied, 'changed'>[] | undefined

  constructor(hosts: readonly HostSpec[], begin = Date.parse('2026-03-02T00:00:00Z')) {
    this.now = begin
    const admin = { name: 'admin', password_hash: 'x' }
    for (const [at, host] of hosts.entries()) {
      const address = `10.0.${at >> 8}.${at & 255}:7460`
      if (at === 0)
        this.must({ type: 'cluster.create', id: 'c', name: 'lab', ca: '', sealed_ca_key: '', admin, node: { name: host.name, address } }) // prettier-ignore
      else {
        const expires_at = new Date(this.now + 1e9).toISOString()
        this.must({ type: 'joinToken.create', sha256: `t${at}`, expires_at })
        this.must({ type: 'node.join', token_sha256: `t${at}`, name: host.name, address })
      }
      this.report(`node-${at + 1}`, host, address)
    }
  }

  report(node: string, host: HostSpec, address = this.state.nodes.get(node)?.address ?? ''): void {
    const inventory = inventoryOf(node, host)
    const gpus = inventory.gpus.map(({ uuid }) => uuid)
    const allocatable = { cpu: host.cpus, memory: host.memoryGib * GiB, gpu: gpus.length, disk: 4000 * GiB }
    this.must({ type: 'node.report', node, address, inventory, allocatable, gpus }, { kind: 'node', node })
  }

  /** Answers the code of the problem when it is refused. */
  propose(command: Command, actor: Actor = system): string | undefined {
    const at = new Date(this.now).toISOString()
    const { state, changed, outcome } = apply(this.state, ++this.#entries, { v: 1, at, actor, command })
    if ('problem' in outcome) {
      this.refused.push(`${command.type}: ${outcome.problem.message}`)
      return outcome.problem.code
    }
    this.state = state
    if (this.#hold) this.#hold.push({ changed })
    else this.follow({ changed })
    return undefined
  }

  must(command: Command, actor: Actor = system): void {
    const problem = this.propose(command, actor)
    if (problem) throw new Error(`${command.type} was refused: ${this.refused.at(-1)}`)
  }

  /** What is done in `act` reaches the index only when the caller says so. */
  quietly(act: () => void): Pick<Applied, 'changed'>[] {
    const changes: Pick<Applied, 'changed'>[] = []
    this.#hold = changes
    act()
    this.#hold = undefined
    return changes
  }

  follow(applied: Pick<Applied, 'changed'>): void {
    this.index.update(this.state, [applied])
  }

  submit(id: string, spec: ExperimentSpec, owner: string): void {
    this.must({ type: 'experiment.create', id, spec, owner }, { kind: 'user', name: owner, rank: 'admin' })
  }

  /** The node says that a placed task runs, from now on. */
  begin(task: string): void {
    const row = this.state.tasks.get(task)
    if (row?.node == null) throw new Error(`${task} is not placed`)
    const { node, attempt } = row
    const started_at = new Date(this.now).toISOString()
    this.must(
      { type: 'task.report', task, attempt, node, state: 'Running', started_at },
      { kind: 'node', node },
    )
  }

  end(task: string, state: 'Succeeded' | 'Failed' | 'Stopped' = 'Succeeded'): void {
    const row = this.state.tasks.get(task)
    if (row?.node == null) throw new Error(`${task} does not run`)
    const { node, attempt } = row
    const finished_at = new Date(this.now).toISOString()
    const exit_code = state === 'Succeeded' ? 0 : 1
    this.must(
      { type: 'task.report', task, attempt, node, state, exit_code, finished_at },
      { kind: 'node', node },
    )
  }
}

function inventoryOf(node: string, host: HostSpec): Inventory {
  const uuid = (at: number) => `GPU-${node}-${at}`
  const gpus = Array.from({ length: host.gpus }, (_, index): Gpu => {
    const links: Record<string, NonNullable<Gpu['links']>[string]> = {}
    for (let to = 0; to < host.gpus; to++) {
      const link = to === index ? undefined : host.links?.(index, to)
      if (link) links[uuid(to)] = link
    }
    return {
      uuid: uuid(index), index, vendor: 'nvidia', model: host.model, memory: host.gpuMemoryGib * GiB,
      ...(host.links ? { links } : {}),
    } // prettier-ignore
  })
  return {
    hostname: host.name, os: 'Debian 13', kernel: '6.12.0', arch: 'x64', cpu: { model: 'cpu', cores: host.cpus },
    memory: host.memoryGib * GiB, disk: { path: '/', total: 5000 * GiB, free: 4000 * GiB }, gpus, docker: null,
    runtimes: ['docker'], default_image: 'base', agent_version: '0', node_version: '24',
  } // prettier-ignore
}
