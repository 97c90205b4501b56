import { formatBytes, type Resources, type RoleSpec, type RuntimeName } from '../../contract/index.ts'
import { type Asking, devicesFor, type Free, lacking } from '../cluster/rules/capacity.ts'
import type { NodeRow } from '../cluster/state.ts'

/** Which runtime of a node could run a role: Docker when there is an image to run, processes only when none is asked for. */
export function runtimeFor(node: NodeRow, role: Pick<RoleSpec, 'image'>): RuntimeName | undefined {
  const { runtimes = [], default_image } = node.inventory ?? {}
  if (runtimes.includes('docker') && (role.image ?? default_image)) return 'docker'
  return runtimes.includes('process') && !role.image ? 'process' : undefined
}

/** Why a task with this image cannot run on what is left of a node, in words; undefined when it can. */
export function whyNot(
  node: NodeRow,
  image: string | undefined,
  task: Asking,
  free: Free,
): string | undefined {
  if (!node.inventory) return 'has not reported yet'
  if (!runtimeFor(node, { image })) return image ? 'has no Docker Engine' : 'has no default image; name one'
  const devices = devicesFor(node, task, free).length
  const left = { ...free.resources, gpu: devices }
  const short = lacking(task.resources, left)
  if (!short.length) return undefined
  return short.map((kind) => `${amount(kind, task.resources)} asked, ${amount(kind, left)} free`).join('; ')
}

/** `3 cores`, `20 GiB of memory`, `2 GPUs`. */
export function amount(kind: keyof Resources, of: Resources): string {
  const value = Math.max(0, of[kind])
  if (kind === 'cpu') return `${value} ${value === 1 ? 'core' : 'cores'}`
  if (kind === 'gpu') return `${value} ${value === 1 ? 'GPU' : 'GPUs'}`
  return `${formatBytes(value)} of ${kind}`
}
