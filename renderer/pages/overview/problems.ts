import type { Cluster, Experiment } from '../../../contract/objects.ts'
import type { Node } from '../../../contract/nodes.ts'
import { href } from '../../app/routes.ts'

export interface Trouble {
  readonly key: string
  readonly tone: 'info' | 'warn' | 'bad'
  readonly text: string
  readonly verb: string
  readonly at: string
}

const ranks = { bad: 0, warn: 1, info: 2 }
const recentMs = 24 * 3600_000

/** What somebody should look at, worst first, each with the way there. */
export function troubles(
  nodes: readonly Node[],
  experiments: readonly Experiment[],
  info: Cluster | undefined,
  now: number,
  demo = false,
): Trouble[] {
  const found: Trouble[] = []
  const add = (tone: Trouble['tone'], key: string, text: string, verb: string, at: string) =>
    found.push({ tone, key, text, verb, at })
  for (const node of nodes) {
    const at = href('node', { name: node.name })
    if (node.liveness === 'unreachable')
      add('bad', `${node.id}-silent`, `${node.name} is unreachable`, 'Open', at)
    if (node.liveness === 'suspect')
      add('warn', `${node.id}-silent`, `${node.name} has stopped answering`, 'Open', at)
    if (node.usage?.disk_low)
      add('bad', `${node.id}-disk`, `The disk of ${node.name} is nearly full`, 'Open', at)
    if (node.inventory?.runtimes.length === 0)
      add('warn', `${node.id}-runtime`, `${node.name} has no runtime: nothing can run there`, 'Open', at)
  }
  for (const text of info?.warnings ?? []) {
    // A demo is meant to run on a host without Docker.
    const meant = demo && text.includes('without isolation')
    add(meant ? 'info' : 'warn', text, text, 'Members', href('settings'))
  }
  if (info?.leader && info.voters >= 3 && info.may_fail > 0) {
    const away = info.members.filter((member) => member.role === 'voter' && member.reachable === false).length
    if (away >= info.may_fail) add('warn', 'voters', 'No further voter may fail', 'Members', href('settings'))
  }
  const failed = experiments.filter(
    ({ state, finished_at }) => state === 'Failed' && finished_at && now - Date.parse(finished_at) < recentMs,
  )
  for (const { id, name } of failed.slice(0, 3))
    add('warn', id, `${name} failed`, 'See why', href('experiment', { id }))
  if (failed.length > 3)
    add(
      'warn',
      'failed',
      `${failed.length - 3} more failed since yesterday`,
      'List',
      href('experiments', undefined, { state: 'Failed' }),
    )
  return found.sort((a, b) => ranks[a.tone] - ranks[b.tone])
}
