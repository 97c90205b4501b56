import {
  type Experiment,
  holdsResources,
  isolationOf,
  type Liveness,
  type Node,
  type Task,
  type Usage,
} from '../../contract/index.ts'
import type { Cluster, NodeLiveness } from '../cluster/cluster.ts'
import { deviceFaults } from '../cluster/rules/devices.ts'
import { add, nothing } from '../cluster/rules/capacity.ts'
import { holdersOf } from '../cluster/rules/holdings.ts'
import { experimentVersion } from '../cluster/rules/settle.ts'
import type { ExperimentRow, Kept, NodeRow, State, TaskRow } from '../cluster/state.ts'
import { sharingOf } from '../cluster/visibility.ts'
import { tasksOf } from './access.ts'

/** Rows as the contract shows them. What is secret or internal (digests of tokens, hashes, holders) stays here. */
export function taskView(state: State, row: TaskRow): Task {
  const node = row.node === null ? undefined : state.nodes.get(row.node)
  return {
    id: row.id,
    workload: row.workload,
    role: row.role,
    index: row.index,
    state: row.state,
    reason: row.reason,
    attempt: row.attempt,
    node: row.node,
    node_name: node?.name ?? row.node,
    node_unreachable_since: (holdsResources(row.state) && node?.unreachable_since) || null,
    runtime: row.runtime,
    isolation: row.runtime && isolationOf(row.runtime),
    resources: row.resources,
    gpus: [...row.gpus],
    image_id: row.image_id ?? null,
    exit_code: row.exit_code,
    started_at: row.started_at,
    finished_at: row.finished_at,
    artifacts: row.artifacts && { files: row.artifacts.files, ...keptView(row.artifacts) },
    log: row.log && keptView(row.log),
    ...(row.array_index === undefined ? {} : { array_index: row.array_index }),
    evict: row.evict ?? null,
    retried: row.retried ?? 0,
    not_before: row.not_before ?? null,
    past: (row.past ?? []).map(({ attempt, node: at, gpus, reason, exit_code, started_at, finished_at }) => ({
      attempt, node: at, gpus: [...gpus], reason, exit_code, started_at, finished_at,
    })), // prettier-ignore
    resource_version: row.resource_version,
  }
}

const keptView = ({ bytes, holders }: Kept) => ({ bytes, copies: holders.length })

export function experimentView(state: State, row: ExperimentRow): Experiment {
  const tasks = tasksOf(state, row)
  return {
    id: row.id,
    name: row.name,
    owner: row.owner,
    description: row.description ?? '',
    tags: row.tags ?? {},
    spec: row.spec,
    state: row.state,
    reason: row.reason,
    stop_requested: row.stop_requested,
    created_at: row.created_at,
    started_at: row.started_at,
    finished_at: row.finished_at,
    sharing: sharingOf(row),
    tasks: tasks.map((task) => taskView(state, task)),
    resource_version: experimentVersion(row, tasks),
  }
}

const silent: NodeLiveness = { liveness: 'unknown', silent_ms: null, usage: null }

export function nodeView(cluster: Cluster, state: State, row: NodeRow): Node {
  const holders = holdersOf(state, row.id)
  const live = livenessOf(cluster, row.id, state)
  return {
    id: row.id,
    name: row.name,
    member: row.member,
    address: row.address,
    role: roleOf(cluster, row.member),
    ...live,
    unreachable_since: row.unreachable_since ?? null,
    joined_at: row.joined_at,
    labels: row.labels ?? {},
    cordon: row.cordon ?? null,
    inventory: row.inventory,
    allocatable: row.allocatable,
    allocated: allocatedBy(holders),
    faults: [...deviceFaults(state, row), ...(live.usage?.warnings ?? [])],
    gpus_held: holders.flatMap((task) => task.gpus.map((uuid) => ({ uuid, task: task.id }))),
    tasks: holders.length,
    state_differs: row.state_differs ?? null,
    resource_version: row.resource_version,
  }
}

/** A GPU that several tasks share counts once. */
function allocatedBy(holders: readonly TaskRow[]): Node['allocated'] {
  const sum = holders.reduce((all, task) => add(all, task.resources), nothing)
  return { ...sum, gpu: new Set(holders.flatMap((task) => task.gpus)).size }
}

export function roleOf(cluster: Cluster, member: number): Node['role'] {
  const { voters, learners } = cluster.status()
  if (voters.includes(member)) return 'voter'
  return learners.includes(member) ? 'learner' : 'joining'
}

/**
 * How a node lives, told the same by every agent: what the log says of it comes before the leader's table, which
 * reaches the others a few seconds later.
 */
export function livenessOf(
  cluster: Cluster,
  node: string,
  state: Pick<State, 'nodes'> = cluster.state(),
): { liveness: Liveness; silent_ms: number | null; usage: Usage | null } {
  const { liveness, silent_ms, usage } = cluster.peers.liveness().get(node) ?? silent
  const lost = (state.nodes.get(node)?.unreachable_since ?? null) !== null
  return { liveness: lost ? 'unreachable' : liveness, silent_ms, usage }
}
