import type { Gpu, Resources, Usage } from '../../contract/index.ts'
import { freeOf, subtract } from '../cluster/rules/capacity.ts'
import { holdersOf } from '../cluster/rules/holdings.ts'
import type { NodeRow, State, TaskRow } from '../cluster/state.ts'
import { type Family, family, type Labels } from './family.ts'

/** This node's host, its GPUs, and what tasks hold here. Every agent tells of its own node only. */
export function hostFamilies(state: State, node: string, usage: Usage | null): Family[] {
  const row = state.nodes.get(node)
  const holders = holdersOf(state, node)
  return [
    ...(usage ? usageFamilies(usage) : []),
    ...(row?.inventory ? gpuFamilies(state, row.inventory.gpus, row, holders, usage) : []),
    ...(row?.allocatable ? capacityFamilies(row, row.allocatable, holders) : []),
    ...taskFamilies(state, holders),
  ]
}

const gauge = (name: string, help: string, value: number) => family('gauge', `submarine_node_${name}`, help, value) // prettier-ignore

function usageFamilies(usage: Usage): Family[] {
  return [
    gauge('cpu_utilization_ratio', 'Busy share of all cores of the host.', usage.cpu_percent / 100),
    gauge('load1', 'Processes that run or wait to, on average over a minute.', usage.load1),
    gauge('memory_used_bytes', 'Memory of the host that is taken.', usage.memory_used),
    gauge('memory_size_bytes', 'Memory of the host.', usage.memory_total),
    gauge('disk_free_bytes', 'Free on the disk of the data folder.', usage.disk_free),
    gauge('disk_size_bytes', 'Size of the disk of the data folder.', usage.disk_total),
    gauge('disk_low', 'Whether the disk is so full that no new work is taken.', usage.disk_low ? 1 : 0),
  ]
}

const kinds = [
  ['cpu', 'cpu_cores', 'cores'],
  ['memory', 'memory_bytes', 'memory'],
  ['gpu', 'gpus', 'GPUs'],
  ['disk', 'storage_bytes', 'disk'],
] as const satisfies readonly (readonly [keyof Resources, string, string])[]

function capacityFamilies(row: NodeRow, allocatable: Resources, holders: readonly TaskRow[]): Family[] {
  const held = subtract(allocatable, freeOf(row, holders).resources)
  return kinds.flatMap(([kind, name, text]) => [
    gauge(`allocatable_${name}`, `What the node gives to tasks: ${text}.`, allocatable[kind]),
    gauge(`allocated_${name}`, `What tasks hold here: ${text}.`, held[kind]),
  ])
}

function taskFamilies(state: State, holders: readonly TaskRow[]): Family[] {
  const labels = (task: TaskRow): Labels => ({
    task: task.id,
    workload: task.workload,
    owner: state.experiments.get(task.workload)?.owner ?? '',
  })
  return kinds.map(([kind, name, text]) =>
    family(
      'gauge',
      `submarine_task_${name}`,
      `What a task on this node holds: ${text}.`,
      holders.map((task) => ({ labels: labels(task), value: task.resources[kind] })),
    ),
  )
}

function gpuFamilies(
  state: State,
  gpus: readonly Gpu[],
  row: NodeRow,
  holders: readonly TaskRow[],
  usage: Usage | null,
): Family[] {
  const live = new Map(usage?.gpus.map((each) => [each.uuid, each]))
  const pool = new Set(row.gpus)
  const held = new Set(holders.flatMap((task) => task.gpus))
  const each = (
    name: string,
    help: string,
    value: (gpu: Gpu, now: Reading | undefined) => number | null | undefined,
  ) =>
    family(
      'gauge',
      `submarine_gpu_${name}`,
      help,
      gpus.map((gpu) => ({ labels: { gpu: gpu.uuid }, value: value(gpu, live.get(gpu.uuid)) })),
    )
  return [
    family('gauge', 'submarine_gpu_info', 'What the GPU is; the value is always 1.', gpus.map((gpu) => ({
      labels: { gpu: gpu.uuid, index: gpu.index, vendor: gpu.vendor, model: gpu.model, driver: gpu.driver ?? '' }, value: 1,
    }))),
    each('utilization_ratio', 'Share of time in which the GPU was busy.', (_gpu, now) => ratio(now?.utilization_percent)),
    each('memory_used_bytes', 'Memory of the GPU that is taken, by whomever.', (_gpu, now) => now?.memory_used),
    each('memory_size_bytes', 'Memory of the GPU.', (gpu) => gpu.memory),
    each('temperature_celsius', 'Temperature of the GPU.', (_gpu, now) => now?.temperature_c),
    each('power_watts', 'What the GPU draws.', (_gpu, now) => now?.power_w),
    each('in_pool', 'Whether the node gives this GPU to tasks.', (gpu) => (pool.has(gpu.uuid) ? 1 : 0)),
    each('faulty', 'Whether something is wrong with it: sick, vanished, or owned by another node.', (gpu, now) => (gpu.fault || now?.fault ? 1 : 0)),
    each('blocked', 'Whether processes from outside the cluster keep it from being handed out.', (_gpu, now) => blocked(now)),
    family('gauge', 'submarine_gpu_processes', 'Processes that compute or draw on it: of tasks, and foreign ones.', processCounts(gpus, live)),
    each('foreign_memory_bytes', 'Memory that foreign processes take.', (_gpu, now) => foreignMemory(now)),
    each('held', 'Whether tasks of this cluster hold it.', (gpu) => (held.has(gpu.uuid) ? 1 : 0)),
    family('gauge', 'submarine_gpu_holder', 'Which task holds the GPU; the value is always 1.', holders.flatMap((task) =>
      task.gpus.map((gpu) => ({
        labels: { gpu, task: task.id, workload: task.workload, owner: state.experiments.get(task.workload)?.owner ?? '' },
        value: 1,
      })))),
  ] // prettier-ignore
}

type Reading = Usage['gpus'][number]

const blocked = (now: Reading | undefined) =>
  now?.processes && (now.processes.some((process) => process.blocking) ? 1 : 0)

const foreignMemory = (now: Reading | undefined) =>
  now?.processes?.filter(({ task }) => task === null).reduce((sum, { memory }) => sum + (memory ?? 0), 0)

function processCounts(gpus: readonly Gpu[], live: ReadonlyMap<string, Reading>) {
  return gpus.flatMap(({ uuid }) => {
    const processes = live.get(uuid)?.processes
    const ours = processes?.filter(({ task }) => task !== null).length
    return [
      { labels: { gpu: uuid, whose: 'ours' }, value: ours },
      { labels: { gpu: uuid, whose: 'foreign' }, value: processes && processes.length - (ours ?? 0) },
    ]
  })
}

const ratio = (percent: number | null | undefined) =>
  typeof percent === 'number' ? percent / 100 : undefined
