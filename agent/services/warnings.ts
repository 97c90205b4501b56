import type { Cluster } from '../cluster/cluster.ts'
import { withoutCertificate } from '../cluster/rules/authority.ts'
import { type NodeRow, theCluster } from '../cluster/state.ts'
import { deviceFaults } from '../cluster/rules/devices.ts'
import { livenessOf } from './views.ts'

/** What an admin should know about the cluster's health, in words, gravest first. */
export function warningsOf(cluster: Cluster): string[] {
  const nodes = [...cluster.state().nodes.values()].toSorted((a, b) => a.member - b.member)
  return [
    ...aboutLeader(cluster, nodes),
    ...aboutSize(cluster, nodes),
    ...aboutNodes(cluster, nodes),
    ...aboutAuthority(cluster),
  ]
}

function aboutAuthority(cluster: Cluster): string[] {
  const state = cluster.state()
  if (state.cluster.get(theCluster)?.former_ca === undefined) return []
  const late = withoutCertificate(state).join(', ')
  return [
    `The certificate authority is being replaced, and the old one still counts: ${late} ` +
      'will have a new certificate when the agent there runs. `submarine cluster rotate-ca --finish` ends it before that.',
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

/** One sentence for each cause, however many nodes it is about. */
function aboutNodes(cluster: Cluster, nodes: readonly NodeRow[]): string[] {
  const low = nodes.filter(({ id }) => livenessOf(cluster, id).usage?.disk_low)
  const different = nodes.filter((node) => node.state_differs)
  const gpus = nodes.flatMap((node) => {
    const faults = [
      ...deviceFaults(cluster.state(), node),
      ...(livenessOf(cluster, node.id).usage?.warnings ?? []),
    ]
    return faults.map((fault) => `${node.name}: ${fault}`)
  })
  const open = nodes.filter(({ inventory }) => inventory?.runtimes.includes('process'))
  return [
    ...different.map(
      ({ name, state_differs }) => `The copy of the state on ${name} is not to be trusted: ${state_differs}`,
    ),
    ...(low.length
      ? [
          `The ${low.length > 1 ? 'disks' : 'disk'} of ${nameAll(low)} ${low.length > 1 ? 'are' : 'is'} nearly full: no new work goes there.`,
        ]
      : []),
    ...gpus,
    ...(open.length
      ? [
          `${nameAll(open)} may run tasks as plain processes, without isolation from the host and from each other.`,
        ]
      : []),
  ]
}

function nameAll(nodes: readonly NodeRow[]): string {
  const names = nodes.map((node) => node.name)
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : (names[0] ?? '')
}
