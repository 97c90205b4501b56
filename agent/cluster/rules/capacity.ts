import { holdsResources, type Resources } from '../../../contract/index.ts'
import type { NodeRow, State, TaskRow } from '../state.ts'

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

/** The tasks that hold resources, by node. */
export function holdersByNode(state: State): Map<string, TaskRow[]> {
  const byNode = new Map<string, TaskRow[]>()
  for (const task of state.tasks.values()) {
    if (!task.node || !holdsResources(task.state)) continue
    const tasks = byNode.get(task.node)
    if (tasks) tasks.push(task)
    else byNode.set(task.node, [task])
  }
  return byNode
}

/** What a node has left: capacity and GPU UUIDs. */
export interface Free {
  readonly resources: Resources
  readonly gpus: readonly string[]
}

export function freeOf(node: NodeRow, holders: readonly TaskRow[]): Free {
  const held = new Set(holders.flatMap((task) => task.gpus))
  const used = holders.reduce((sum, task) => add(sum, task.resources), nothing)
  return {
    resources: subtract(node.allocatable ?? nothing, used),
    gpus: node.gpus.filter((uuid) => !held.has(uuid)),
  }
}
