import { holdsResources } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { NodeRow, State } from '../state.ts'

type Evict = Extract<Command, { type: 'workload.evict' }>

/** What has to leave the nodes whose time is up: one command for each workload. `now`: wall clock, ms. */
export function drainsDue(state: State, now: number): Evict[] {
  const due = new Map<string, NodeRow>()
  for (const node of state.nodes.values())
    if (node.cordon?.drain && Date.parse(node.cordon.drain.deadline) <= now) due.set(node.id, node)
  if (!due.size) return []
  const commands = new Map<string, Evict & { tasks: string[] }>()
  for (const task of state.tasks.values()) {
    const node = due.get(task.node ?? '')
    if (!node || !holdsResources(task.state) || task.evict) continue
    const key = `${task.workload} ${node.id}`
    const command = commands.get(key) ?? evictionFrom(node, task.workload)
    command.tasks.push(task.id)
    commands.set(key, command)
  }
  return [...commands.values()]
}

function evictionFrom({ name, cordon }: NodeRow, workload: string): Evict & { tasks: string[] } {
  const grace = cordon?.drain?.grace_seconds
  const why = cordon?.reason ? ` (${cordon.reason})` : ''
  const reason = { code: 'drained', message: `${cordon?.by ?? 'somebody'} emptied ${name}${why}` }
  return {
    type: 'workload.evict',
    id: workload,
    tasks: [],
    eviction: { cause: 'drained', reason, then: 'queue', ...(grace == null ? {} : { grace_seconds: grace }) },
  }
}
