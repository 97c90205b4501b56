import { type Constraint, type Gpu, type GpuNeed, parseBytes } from '../../../contract/index.ts'
import type { NodeRow } from '../state.ts'
import { isKind } from './capacity.ts'

/** Does the node meet it? One on GPUs asks for at least one such GPU; `usableGpu` then picks those. */
export function meets(node: NodeRow, constraint: Constraint): boolean {
  if (!constraint.attribute.startsWith('gpu.'))
    return holds(constraint, attributeOf(node, constraint.attribute))
  const gpus = node.inventory?.gpus ?? []
  if (constraint.operator === 'not exists')
    return !gpus.some((gpu) => gpuAttribute(gpu, constraint.attribute) !== undefined)
  return gpus.some((gpu) => holds(constraint, gpuAttribute(gpu, constraint.attribute)))
}

/** May a task with these needs have this device, by what it is? The one answer of planner and `apply`. */
export function usableGpu(
  gpu: Gpu | undefined,
  need: GpuNeed | undefined,
  constraints: readonly Constraint[],
): boolean {
  if (!isKind(gpu, need ?? {})) return false
  return constraints.every(
    (constraint) =>
      !constraint.attribute.startsWith('gpu.') ||
      holds(constraint, gpu && gpuAttribute(gpu, constraint.attribute)),
  )
}

function attributeOf(node: NodeRow, attribute: string): string | undefined {
  if (attribute === 'node') return node.name
  if (attribute === 'arch') return node.inventory?.arch
  if (attribute === 'kernel') return node.inventory?.kernel
  if (attribute === 'kerberos') return node.inventory?.kerberos
  if (attribute.startsWith('label.')) return node.labels?.[attribute.slice('label.'.length)]
  return undefined
}

function gpuAttribute(gpu: Gpu, attribute: string): string | undefined {
  if (attribute === 'gpu.model') return gpu.model
  if (attribute === 'gpu.memory') return String(gpu.memory)
  if (attribute === 'gpu.driver') return gpu.driver
  return attribute === 'gpu.cuda' ? gpu.cuda : undefined
}

function holds({ attribute, operator, values }: Constraint, actual: string | undefined): boolean {
  if (operator === 'exists') return actual !== undefined
  if (operator === 'not exists') return actual === undefined
  const equal = (value: string) => actual !== undefined && isSame(attribute, actual, value)
  if (operator === '=' || operator === 'in') return values.some(equal)
  if (operator === '!=' || operator === 'not in') return !values.some(equal)
  if (actual === undefined || values[0] === undefined) return false
  const order = compare(attribute, actual, values[0])
  return operator === '>=' ? order >= 0 : order <= 0
}

/** A model is named by a part of its name, as in a need. */
function isSame(attribute: string, actual: string, value: string): boolean {
  if (attribute === 'gpu.model') return actual.toLowerCase().includes(value.toLowerCase())
  return actual === value || compare(attribute, actual, value) === 0
}

/** Sizes as sizes, versions and numbers part by part, the rest as texts. */
function compare(attribute: string, a: string, b: string): number {
  if (attribute === 'gpu.memory') {
    const [x, y] = [parseBytes(a), parseBytes(b)]
    return typeof x === 'number' && typeof y === 'number' ? x - y : NaN
  }
  const [x, y] = [a.split(/[.-]/), b.split(/[.-]/)]
  for (let at = 0; at < Math.max(x.length, y.length); at++) {
    const [p, q] = [x[at] ?? '0', y[at] ?? '0']
    const numeric = /^\d+$/.test(p) && /^\d+$/.test(q)
    const order = numeric ? Number(p) - Number(q) : p < q ? -1 : p > q ? 1 : 0
    if (order !== 0) return order
  }
  return 0
}
