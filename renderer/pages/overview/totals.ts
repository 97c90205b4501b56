import type { Node } from '../../../contract/nodes.ts'
import { bytes, cores, share, unknown } from '../../ui/format.ts'

export interface Total {
  readonly name: string
  readonly reserved: string
  readonly of: string
  readonly value: number | null
}

/** What tasks have reserved of what the nodes that answer can give. */
export function totals(nodes: readonly Node[]): Total[] {
  const there = nodes.filter((node) => node.allocatable && node.liveness !== 'unreachable')
  const sum = (of: (node: Node) => number) => there.reduce((all, node) => all + of(node), 0)
  const total = (name: string, show: (value: number) => string, key: 'cpu' | 'memory' | 'gpu'): Total => {
    if (!there.length) return { name, reserved: unknown, of: unknown, value: null }
    const reserved = sum((node) => node.allocated[key])
    const whole = sum((node) => node.allocatable?.[key] ?? 0)
    return { name, reserved: show(reserved), of: show(whole), value: share(reserved, whole) }
  }
  return [total('CPU', cores, 'cpu'), total('Memory', bytes, 'memory'), total('GPUs', String, 'gpu')]
}
