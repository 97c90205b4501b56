import type { Gpu, GpuProcess, Node } from '../../contract/nodes.ts'
import { formatBytes } from '../../contract/resources.ts'
import type { Terminal } from '../terminal.ts'
import { type Column, plain, table } from './table.ts'

interface Device {
  readonly gpu: Gpu
  readonly usage: NonNullable<Node['usage']>['gpus'][number] | undefined
  readonly held: readonly string[]
}

/** A line for each device of a node, then for each process on them, then what is wrong. */
export function nodeGpus(terminal: Terminal, n: Node): string {
  const devices = (n.inventory?.gpus ?? []).map((gpu) => ({
    gpu,
    usage: n.usage?.gpus.find(({ uuid }) => uuid === gpu.uuid),
    held: n.gpus_held.filter(({ uuid }) => uuid === gpu.uuid).map(({ task }) => task),
  }))
  const processes = devices.flatMap(({ gpu, usage }) =>
    // A whole device's processes are those of its slices.
    gpu.mig_mode ? [] : (usage?.processes ?? []).map((process) => ({ gpu, process })),
  )
  return [
    ...(devices.length ? [`\n${table(deviceColumns, devices)}`] : []),
    ...(processes.length ? [`\n${table(processColumns, processes)}`] : []),
    ...(n.faults ?? []).map((fault) => `${terminal.paint('yellow', 'warning:')} ${plain(fault)}\n`),
  ].join('')
}

const deviceColumns: Column<Device>[] = [
  { title: 'GPU', cell: ({ gpu }) => String(gpu.index) },
  { title: 'MODEL', cell: ({ gpu }) => plain(gpu.mig ? `${gpu.model} ${gpu.mig.profile}` : gpu.model) },
  { title: 'MEMORY', cell: memoryOf },
  { title: 'LOAD', cell: ({ usage }) => figure(usage?.utilization_percent, '%') },
  { title: 'TEMP', cell: ({ usage }) => figure(usage?.temperature_c, ' °C') },
  { title: 'POWER', cell: ({ usage }) => figure(usage?.power_w, ' W') },
  { title: 'NUMA', cell: ({ gpu }) => String(gpu.numa ?? '-') },
  { title: 'LINKS', cell: linksOf },
  { title: 'USE', cell: useOf },
  { title: 'UUID', cell: ({ gpu }) => plain(gpu.uuid) },
]

const processColumns: Column<{ gpu: Gpu; process: GpuProcess }>[] = [
  { title: 'GPU', cell: ({ gpu }) => String(gpu.index) },
  { title: 'PID', cell: ({ process }) => String(process.pid) },
  { title: 'USER', cell: ({ process }) => plain(process.user ?? '-') },
  { title: 'MEMORY', cell: ({ process }) => (process.memory === null ? '-' : formatBytes(process.memory)) },
  { title: 'KIND', cell: ({ process }) => process.kind },
  {
    title: 'TASK',
    cell: ({ process }) => process.task ?? (process.blocking ? 'outside, BLOCKS' : 'outside'),
  },
  { title: 'PROGRAM', cell: ({ process }) => plain(process.name) },
]

const figure = (value: number | null | undefined, unit: string) =>
  value === null || value === undefined ? '-' : `${Math.round(value)}${unit}`

function memoryOf({ gpu, usage }: Device): string {
  const used = usage?.memory_used ?? null
  return used === null ? formatBytes(gpu.memory) : `${formatBytes(used)}/${formatBytes(gpu.memory)}`
}

/** The kinds of ways to the others: `NV12×7`, `PHB×1 SYS×2`. */
function linksOf({ gpu }: Device): string {
  const counts = new Map<string, number>()
  for (const link of Object.values(gpu.links ?? {})) counts.set(link, (counts.get(link) ?? 0) + 1)
  return [...counts].map(([link, count]) => `${link}×${count}`).join(' ') || '-'
}

function useOf({ gpu, usage, held }: Device): string {
  const fault = gpu.fault ?? usage?.fault
  if (fault) return plain(`NOT USED: ${fault.code}`)
  if (gpu.mig_mode) return 'cut into slices'
  const shared = gpu.shared ? ' (shared, no isolation)' : ''
  if (held.length) return plain(held.join(', ')) + shared
  return (usage?.processes?.some((process) => process.blocking) ? 'used from outside' : 'free') + shared
}
