import type { Gpu, GpuProcess, Node } from '../../../contract/nodes.ts'
import { bytes, cores, percent, share } from '../../ui/format.ts'

/** How full something is. Use and reservation are shares of the same whole: all that the host has. */
export interface Level {
  readonly value: number | null
  readonly text: string
  readonly reserved: number | null
  readonly title: string
  /** To be full is a fault. */
  readonly scarce: boolean
}

/** A figure from a node that has fallen silent is no figure. */
const live = (node: Node) => (node.liveness === 'unreachable' ? null : node.usage)

export function cpuLevel(node: Node): Level {
  const used = live(node)?.cpu_percent ?? null
  const { allocated, allocatable, inventory } = node
  return {
    value: used === null ? null : used / 100,
    text: percent(used),
    reserved: share(allocated.cpu, inventory?.cpu.cores),
    title: `${percent(used)} in use; ${cores(allocated.cpu)} reserved of ${cores(allocatable?.cpu)} cores for tasks`,
    scarce: false,
  }
}

export function memoryLevel(node: Node): Level {
  const usage = live(node)
  const { allocated, allocatable, inventory } = node
  return {
    value: share(usage?.memory_used, usage?.memory_total),
    text: usage ? `${bytes(usage.memory_used)} / ${bytes(usage.memory_total)}` : bytes(null),
    reserved: share(allocated.memory, usage?.memory_total ?? inventory?.memory),
    title: `${bytes(usage?.memory_used)} in use; ${bytes(allocated.memory)} reserved of ${bytes(allocatable?.memory)} for tasks`,
    scarce: true,
  }
}

export function diskLevel(node: Node): Level {
  const usage = live(node)
  const used = usage ? usage.disk_total - usage.disk_free : null
  return {
    value: share(used, usage?.disk_total),
    text: usage ? `${bytes(usage.disk_free)} free` : bytes(null),
    reserved: null,
    title: `${bytes(used)} of ${bytes(usage?.disk_total)} in use${usage?.disk_low ? '; nearly full: new work is refused' : ''}`,
    scarce: true,
  }
}

/** free: nobody holds it; held: a task does; foreign: busy though no task of ours holds it; faulty: kept out. */
export type GpuState = 'free' | 'held' | 'foreign' | 'faulty' | 'unknown'

export interface GpuView {
  readonly gpu: Gpu
  readonly state: GpuState
  readonly task: string | null
  /** Why it is kept out of the pool. */
  readonly fault: string | null
  readonly utilization: number | null
  readonly memory: number | null
  readonly memoryUsed: number | null
  readonly temperature: number | null
  readonly power: number | null
}

export function gpuViews(node: Node): GpuView[] {
  const usage = live(node)
  return (node.inventory?.gpus ?? []).map((gpu) => {
    const now = usage?.gpus.find(({ uuid }) => uuid === gpu.uuid)
    const task = node.gpus_held.find(({ uuid }) => uuid === gpu.uuid)?.task ?? null
    const utilization = now?.utilization_percent ?? null
    const memory = share(now?.memory_used, gpu.memory)
    const fault = gpu.fault?.message ?? now?.fault?.message ?? null
    return {
      gpu,
      state: stateOf(node, { task, fault, foreign: isForeign(now, utilization, memory) }),
      task,
      fault,
      utilization,
      memory,
      memoryUsed: now?.memory_used ?? null,
      temperature: now?.temperature_c ?? null,
      power: now?.power_w ?? null,
    }
  })
}

type Now = NonNullable<Node['usage']>['gpus'][number] | undefined
/** A driver that tells of processes knows; else a card that works for nobody of ours works for somebody. */
const isForeign = (now: Now, utilization: number | null, memory: number | null) =>
  now?.processes
    ? now.processes.some(({ blocking }) => blocking)
    : (utilization ?? 0) > 10 || (memory ?? 0) > 0.1

interface Seen {
  readonly task: string | null
  readonly fault: string | null
  readonly foreign: boolean
}
function stateOf(node: Node, { task, fault, foreign }: Seen): GpuState {
  if (node.liveness === 'unreachable') return 'unknown'
  if (fault) return 'faulty'
  return task ? 'held' : foreign ? 'foreign' : 'free'
}

/** What runs on its cards now, ours and others', with each card's index. */
export function gpuProcesses(node: Node): (GpuProcess & { readonly card: number })[] {
  return (node.inventory?.gpus ?? []).flatMap(({ uuid, index }) =>
    (live(node)?.gpus.find((one) => one.uuid === uuid)?.processes ?? []).map((process) => ({
      ...process,
      card: index,
    })),
  )
}

export const gpuWords: Record<GpuState, string> = {
  faulty: 'kept out',
  free: 'free',
  held: 'in use',
  foreign: 'busy outside the cluster',
  unknown: 'not known',
}

/** Only the process runtime: tasks here are not kept from each other. */
export const withoutIsolation = (node: Node): boolean =>
  node.inventory !== null && node.inventory.runtimes.length > 0 && !node.inventory.runtimes.includes('docker')

export interface NodeNotice {
  readonly text: string
  readonly bad: boolean
}

/** What people should know before they wonder why nothing runs there. `at` writes a time. */
export function nodeNotices(node: Node, at: (time: string) => string): NodeNotice[] {
  const faults = [...(node.faults ?? []), ...(node.usage?.warnings ?? [])]
  return [...cordonNotice(node, at), ...faults.map((text) => ({ text, bad: true }))]
}

function cordonNotice({ cordon }: Node, at: (time: string) => string): NodeNotice[] {
  if (!cordon) return []
  const why = cordon.reason ? `: ${cordon.reason}` : ''
  const { drain } = cordon
  const text = drain
    ? `${drain.reboot ? 'To be restarted' : 'Drained'} by ${cordon.by} since ${at(cordon.at)}${why}. What is not done by ${at(drain.deadline)} is stopped and waits for another place.`
    : `Takes nothing new since ${at(cordon.at)}, cordoned by ${cordon.by}${why}.`
  return [{ text, bad: false }]
}
