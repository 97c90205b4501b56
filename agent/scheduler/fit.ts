import { formatBytes, type Resources, type RoleSpec, type RuntimeName } from '../../contract/index.ts'
import type { NodeRow } from '../cluster/state.ts'

/** Which runtime of a node could run a role: Docker when there is an image to run, processes only when none is asked for. */
export function runtimeFor(node: NodeRow, role: Pick<RoleSpec, 'image'>): RuntimeName | undefined {
  const { runtimes = [], default_image } = node.inventory ?? {}
  if (runtimes.includes('docker') && (role.image ?? default_image)) return 'docker'
  return runtimes.includes('process') && !role.image ? 'process' : undefined
}

/** `3 cores`, `20 GiB of memory`, `2 GPUs`. */
export function amount(kind: keyof Resources, of: Resources): string {
  const value = Math.max(0, of[kind])
  if (kind === 'cpu') return `${value} ${value === 1 ? 'core' : 'cores'}`
  if (kind === 'gpu') return `${value} ${value === 1 ? 'GPU' : 'GPUs'}`
  return `${formatBytes(value)} of ${kind}`
}
