import { formatBytes, type GpuProcess, type Reason, type Usage } from '../../contract/index.ts'

/** The devices of a node that must not be handed out just now, by UUID, as its newest figures say, and why. */
export function blockedGpus(usage: Usage | null): ReadonlyMap<string, Reason> {
  const blocked = new Map<string, Reason>()
  for (const { uuid, fault, processes = [] } of usage?.gpus ?? []) {
    const foreign = processes.filter((process) => process.blocking)
    const reason = fault ?? (foreign.length ? outside(foreign) : null)
    if (reason) blocked.set(uuid, reason)
  }
  return blocked
}

function outside(processes: readonly GpuProcess[]): Reason {
  const each = processes.map(({ pid, user, name, memory }) => {
    const size = memory === null ? '' : `, ${formatBytes(memory)}`
    return `${name} (pid ${pid}${user === null ? '' : ` of ${user}`}${size})`
  })
  return { code: 'gpu_in_use', message: `in use outside the cluster by ${each.join(', ')}` }
}
