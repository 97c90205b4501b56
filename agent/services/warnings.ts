import type { Cluster } from '../cluster/cluster.ts'
import type { NodeRow } from '../cluster/state.ts'
import { livenessOf } from './views.ts'

/** What an admin should know about the cluster's health, in words, gravest first. */
export function warningsOf(cluster: Cluster): string[] {
  const nodes = [...cluster.state().nodes.values()].toSorted((a, b) => a.member - b.member)
  return [
    ...aboutLeader(cluster, nodes),
    ...aboutSize(cluster, nodes),
    ...nodes.flatMap((node) => aboutNode(cluster, node)),
  ]
}

function aboutLeader(cluster: Cluster, nodes: readonly NodeRow[]): string[] {
  const { leader, voters } = cluster.status()
  const need = Math.floor(voters.length / 2) + 1
  if (leader === null)
    return [
      `There is no leader: nothing can be changed until ${need} of the ${voters.length} voters reach each other. ` +
        'Running tasks go on.',
    ]
  const silent = nodes.filter(
    ({ id, member }) => voters.includes(member) && livenessOf(cluster, id).liveness === 'unreachable',
  )
  const spare = voters.length - silent.length - need
  if (!silent.length || spare > 0) return []
  return [
    `${nameAll(silent)} cannot be reached: no further voter may fail, or nothing can be changed until ${need} of the ` +
      `${voters.length} voters run.`,
  ]
}

/** Below three voters one failure is enough to stop the cluster; say whose. */
function aboutSize(cluster: Cluster, nodes: readonly NodeRow[]): string[] {
  const { voters } = cluster.status()
  const only = nodes.find((node) => voters.includes(node.member))
  if (voters.length !== 1 || !only) return []
  const others = nodes.filter((node) => node !== only)
  if (!others.length)
    return [
      `${only.name} is the only host: it may not fail, and everything is kept in one copy. Add two more hosts.`,
    ]
  return [
    `${only.name} is the only voter and may not fail: without it nothing can be changed, though running tasks go on. ` +
      `${nameAll(others)} ${others.length > 1 ? 'keep' : 'keeps'} a full copy of the state, from which the cluster ` +
      'can be recovered. With a third host there are three voters, and any one may fail.',
  ]
}

function aboutNode(cluster: Cluster, { id, name, inventory }: NodeRow): string[] {
  const { usage } = livenessOf(cluster, id)
  return [
    ...(usage?.disk_low ? [`The disk of ${name} is nearly full: it takes no new work.`] : []),
    ...(inventory?.runtimes.includes('process')
      ? [`${name} also runs tasks as plain processes, without isolation from the host and from each other.`]
      : []),
  ]
}

function nameAll(nodes: readonly NodeRow[]): string {
  const names = nodes.map((node) => node.name)
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : (names[0] ?? '')
}
