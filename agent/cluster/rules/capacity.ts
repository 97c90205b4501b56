import type { Gpu, GpuNeed, Resources } from '../../../contract/index.ts'
import type { NodeRow, TaskRow } from '../state.ts'

export const nothing: Resources = { cpu: 0, memory: 0, gpu: 0, disk: 0 }

export function add(a: Resources, b: Resources): Resources {
  // Thousandths of a core add up exactly as integers, never as binary fractions.
  const cpu = (Math.round(a.cpu * 1000) + Math.round(b.cpu * 1000)) / 1000
  return { cpu, memory: a.memory + b.memory, gpu: a.gpu + b.gpu, disk: a.disk + b.disk }
}

/** Which resources of `asked` do not fit into `free`; empty when all do. */
export function lacking(asked: Resources, free: Resources): (keyof Resources)[] {
  return (['cpu', 'memory', 'gpu', 'disk'] as const).filter((kind) => asked[kind] > free[kind])
}

export function subtract(a: Resources, b: Resources): Resources {
  const cpu = (Math.round(a.cpu * 1000) - Math.round(b.cpu * 1000)) / 1000
  return { cpu, memory: a.memory - b.memory, gpu: a.gpu - b.gpu, disk: a.disk - b.disk }
}

/** What a node has left: capacity and devices. */
export interface Free {
  /** `gpu`: how many devices nobody holds. */
  readonly resources: Resources
  /** UUIDs of the devices that nobody holds, shared ones too. */
  readonly gpus: readonly string[]
  /** Bytes left of each shared device that no task holds alone. */
  readonly shares: ReadonlyMap<string, number>
}

/** What decides on which devices a task may run. */
export type Asking = Pick<TaskRow, 'resources' | 'gpu'>

export function freeOf(node: NodeRow, holders: readonly TaskRow[]): Free {
  const held = new Set(holders.flatMap((task) => task.gpus))
  const gpus = node.gpus.filter((uuid) => !held.has(uuid))
  const used = holders.reduce((sum, task) => add(sum, task.resources), nothing)
  const { cpu, memory, disk } = subtract(node.allocatable ?? nothing, used)
  return { resources: { cpu, memory, disk, gpu: gpus.length }, gpus, shares: sharesOf(node, holders) }
}

function sharesOf(node: NodeRow, holders: readonly TaskRow[]): Map<string, number> {
  const left = new Map<string, number>()
  const mayShare = (gpu: Gpu) => gpu.shared === true && node.gpus.includes(gpu.uuid)
  for (const { uuid, memory } of node.inventory?.gpus.filter(mayShare) ?? []) left.set(uuid, memory)
  for (const { gpus, gpu } of holders)
    for (const uuid of gpus) {
      const before = left.get(uuid)
      if (before === undefined) continue
      if (gpu?.share === undefined) left.delete(uuid)
      else left.set(uuid, before - gpu.share)
    }
  return left
}

/** What a task takes beside devices of its own: a share of a GPU takes none. */
export function asked({ resources, gpu }: Asking): Resources {
  return gpu?.share === undefined ? resources : { ...resources, gpu: 0 }
}

/** UUIDs of the devices of a node that a task could have now, of which it takes `resources.gpu`; in the node's order. */
export function devicesFor(node: NodeRow, { gpu: need = {} }: Asking, free: Free): string[] {
  const { share } = need
  const open = share === undefined ? free.gpus : [...free.shares.keys()]
  const known = new Map(node.inventory?.gpus.map((gpu) => [gpu.uuid, gpu]))
  return open.filter((uuid) => {
    const kind = isKind(known.get(uuid), need)
    return kind && (share === undefined || (free.shares.get(uuid) ?? 0) >= share)
  })
}

/** Whether a device, free or not, is of the kind asked for. A slice is only for those who ask for slices. */
export function isKind(gpu: Gpu | undefined, need: GpuNeed): boolean {
  if (!gpu) return Object.values(need).every((asked) => asked === undefined)
  if (gpu.mig?.profile !== need.mig) return false
  if (need.share !== undefined && !gpu.shared) return false
  if (need.memory !== undefined && gpu.memory < need.memory) return false
  return need.model === undefined || gpu.model.toLowerCase().includes(need.model.toLowerCase())
}

/** What is left of a node when a task takes these devices of it. */
export function without(free: Free, task: Asking, gpus: readonly string[]): Free {
  const { cpu, memory, disk } = subtract(free.resources, task.resources)
  const left = free.gpus.filter((uuid) => !gpus.includes(uuid))
  const shares = new Map(free.shares)
  for (const uuid of gpus) {
    const before = shares.get(uuid)
    if (before === undefined) continue
    if (task.gpu?.share === undefined) shares.delete(uuid)
    else shares.set(uuid, before - task.gpu.share)
  }
  const gpu = free.resources.gpu - (free.gpus.length - left.length)
  return { resources: { cpu, memory, disk, gpu }, gpus: left, shares }
}
