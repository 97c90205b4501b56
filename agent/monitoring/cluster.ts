import { holdsResources, isFinal, priorityClasses, states } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { add, nothing } from '../cluster/rules/capacity.ts'
import type { State } from '../cluster/state.ts'
import { queueOf, type Workload, workloads } from '../cluster/workloads.ts'
import { type Family, family, type Labels } from './family.ts'

const lives = ['ready', 'suspect', 'unreachable', 'unknown'] as const

/**
 * What is true of the whole cluster, from the replicated state. Only the leader tells it, so that a sum over all
 * agents counts it once.
 */
export function clusterFamilies(cluster: Cluster, now: number): Family[] {
  if (!cluster.status().isLeader) return []
  const state = cluster.state()
  return [
    ...queueFamilies(state, now),
    ...nodeFamilies(cluster, state),
    ...capacityFamilies(state),
    count('users', 'Accounts.', state.users.size),
  ]
}

const count = (name: string, help: string, value: number) => family('gauge', `submarine_cluster_${name}`, help, value) // prettier-ignore

function queueFamilies(state: State, now: number): Family[] {
  const all = workloads(state)
  const tasks = new Map<string, number>()
  for (const task of state.tasks.values()) tasks.set(task.state, (tasks.get(task.state) ?? 0) + 1)
  return [
    family('gauge', 'submarine_cluster_workloads', 'Workloads by state, queue and priority; finished ones as long as they are kept.', countWorkloads(state, all)),
    family('gauge', 'submarine_cluster_tasks', 'Tasks by state.', states.map((each) => ({ labels: { state: each }, value: tasks.get(each) ?? 0 }))),
    family('gauge', 'submarine_cluster_oldest_wait_seconds', 'How long the workload waits that was submitted first, by queue; 0 when none waits.', oldestWaits(state, all, now)),
  ] // prettier-ignore
}

const queuesOf = (state: State) => [...new Set(['default', ...state.queues.keys()])]

/** What is not there is counted too, as zero: a series that comes and goes tells nothing of the time between. */
function countWorkloads(state: State, all: readonly Workload[]): { labels: Labels; value: number }[] {
  const counts = new Map<string, { labels: Labels; value: number }>()
  const at = (run: string, queue: string, priority: string) => {
    const key = `${run}/${queue}/${priority}`
    const known = counts.get(key) ?? { labels: { state: run, queue, priority }, value: 0 }
    counts.set(key, known)
    return known
  }
  for (const queue of queuesOf(state))
    for (const run of states)
      for (const priority of priorityClasses)
        if (priority === queueOf(state, queue).priority) at(run, queue, priority)
  for (const workload of all) at(workload.state, workload.queue, workload.priority).value++
  return [...counts.values()]
}

function oldestWaits(
  state: State,
  all: readonly Workload[],
  now: number,
): { labels: Labels; value: number }[] {
  const since = new Map<string, number>(queuesOf(state).map((queue) => [queue, now]))
  for (const { queue, created_at, ...workload } of all)
    if (!isFinal(workload.state) && !holdsResources(workload.state))
      since.set(queue, Math.min(since.get(queue) ?? now, Date.parse(created_at)))
  return [...since].map(([queue, at]) => ({ labels: { queue }, value: Math.max(0, now - at) / 1000 }))
}

function nodeFamilies(cluster: Cluster, state: State): Family[] {
  const table = cluster.peers.liveness()
  const rows = [...state.nodes.values()]
  const lifeOf = (node: string) => table.get(node)?.liveness ?? 'unknown'
  const each = (name: string, help: string, value: (row: (typeof rows)[number]) => number | null) =>
    family('gauge', `submarine_cluster_node_${name}`, help,
      rows.map((row) => ({ labels: { node: row.id, name: row.name }, value: value(row) }))) // prettier-ignore
  const isVoter = (member: number) => cluster.status().voters.includes(member)
  return [
    family('gauge', 'submarine_cluster_nodes', 'Nodes by how the leader judges them.',
      lives.map((life) => ({ labels: { liveness: life }, value: rows.filter(({ id }) => lifeOf(id) === life).length }))),
    each('ready', 'Whether the node answers the leader.', ({ id }) => (lifeOf(id) === 'ready' ? 1 : 0)),
    each('silent_seconds', 'Since the leader last heard from the node.', ({ id }) => seconds(table.get(id)?.silent_ms)),
    each('cordoned', 'Whether the node takes nothing new.', ({ cordon }) => (cordon ? 1 : 0)),
    each('draining', 'Whether the node is being emptied.', ({ cordon }) => (cordon?.drain ? 1 : 0)),
    each('voter', 'Whether the node votes in Raft.', ({ member }) => (isVoter(member) ? 1 : 0)),
    each('state_differs', 'Whether its copy of the replicated state is known to be wrong.', (row) => (row.state_differs ? 1 : 0)),
  ] // prettier-ignore
}

const seconds = (ms: number | null | undefined) => (typeof ms === 'number' ? ms / 1000 : null)

function capacityFamilies(state: State): Family[] {
  const total = [...state.nodes.values()].reduce((sum, row) => add(sum, row.allocatable ?? nothing), nothing)
  const held = [...state.tasks.values()]
    .filter((task) => holdsResources(task.state))
    .reduce((sum, task) => add(sum, task.resources), nothing)
  return [
    count('allocatable_gpus', 'GPUs that all nodes together give to tasks.', total.gpu),
    count('allocated_gpus', 'GPUs that tasks hold.', held.gpu),
    count('allocatable_cpu_cores', 'Cores that all nodes together give to tasks.', total.cpu),
    count('allocated_cpu_cores', 'Cores that tasks hold.', held.cpu),
    count('allocatable_memory_bytes', 'Memory that all nodes together give to tasks.', total.memory),
    count('allocated_memory_bytes', 'Memory that tasks hold.', held.memory),
  ]
}
