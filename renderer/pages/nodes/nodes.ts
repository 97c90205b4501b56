import type { Gpu, Node } from '../../../contract/objects.ts'
import { bytes, cores, percent, share } from '../../ui/format.ts'

export interface Level {
  readonly value: number | null
  readonly text: string
  readonly reserved: number | null
  readonly title: string
}

const level = (value: number | null, text: string, reserved: number | null, title: string): Level => ({
  value,
  text,
  reserved,
  title,
})

/** A figure from a node that has fallen silent is no figure. */
const live = (node: Node) => (node.liveness === 'unreachable' ? null : node.usage)

export function cpuLevel(node: Node): Level {
  const used = live(node)?.cpu_percent ?? null
  const reserved = share(node.allocated.cpu, node.allocatable?.cpu)
  return level(
    used === null ? null : used / 100,
    percent(used),
    reserved,
    `In use ${percent(used)}; reserved by tasks ${cores(node.allocated.cpu)} of ${cores(node.allocatable?.cpu)} cores`,
  )
}

export function memoryLevel(node: Node): Level {
  const usage = live(node)
  const reserved = share(node.allocated.memory, node.allocatable?.memory)
  return level(
    share(usage?.memory_used, usage?.memory_total),
    usage ? `${bytes(usage.memory_used)} / ${bytes(usage.memory_total)}` : bytes(null),
    reserved,
    `In use ${bytes(usage?.memory_used)}; reserved by tasks ${bytes(node.allocated.memory)} of ${bytes(node.allocatable?.memory)}`,
  )
}

export function diskLevel(node: Node): Level {
  const usage = live(node)
  const used = usage ? usage.disk_total - usage.disk_free : null
  return level(
    share(used, usage?.disk_total),
    usage ? `${bytes(usage.disk_free)} free` : bytes(null),
    null,
    `${bytes(used)} of ${bytes(usage?.disk_total)} in use${usage?.disk_low ? '; nearly full: new work is refused' : ''}`,
  )
}

/** free: nobody holds it; held: a task does; foreign: busy though no task of ours holds it. */
export type GpuState = 'free' | 'held' | 'foreign' | 'unknown'

export interface GpuView {
  readonly gpu: Gpu
  readonly state: GpuState
  readonly task: string | null
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
    const busy = (utilization ?? 0) > 10 || (memory ?? 0) > 0.1
    return {
      gpu,
      state: node.liveness === 'unreachable' ? 'unknown' : task ? 'held' : busy ? 'foreign' : 'free',
      task,
      utilization,
      memory,
      memoryUsed: now?.memory_used ?? null,
      temperature: now?.temperature_c ?? null,
      power: now?.power_w ?? null,
    }
  })
}

export const gpuWords: Record<GpuState, string> = {
  free: 'free',
  held: 'in use',
  foreign: 'busy outside the cluster',
  unknown: 'not known',
}

/** Only the process runtime: tasks here are not kept from each other. */
export const withoutIsolation = (node: Node): boolean =>
  node.inventory !== null && node.inventory.runtimes.length > 0 && !node.inventory.runtimes.includes('docker')
