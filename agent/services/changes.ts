import { type Event, holdsResources } from '../../contract/index.ts'
import type { Applied } from '../cluster/commands.ts'
import type { ExperimentRow, NodeRow, State, TaskRow } from '../cluster/state.ts'

/** One object's change, with the state to show it from: states share what did not change, so keeping one is cheap. */
export type Change =
  | (Base & { readonly kind: 'experiment'; readonly row: ExperimentRow; readonly was?: ExperimentRow })
  | (Base & { readonly kind: 'node'; readonly row: NodeRow })
  | (Base & { readonly kind: 'event'; readonly event: Event })
export type ChangeKind = Change['kind']

interface Base {
  readonly index: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly state: State
}

/** What newer changes of the same thing replace. */
export function keyOf(change: Change): string {
  return change.kind === 'event' ? `event/${change.event.id}` : `${change.kind}/${change.row.id}`
}

/** What watchers are told of an applied entry. A task's change is its experiment's, and its node's when it takes or frees resources. */
export function changesOf({ index, changed, events }: Applied, before: State, after: State): Change[] {
  const experiments = new Set(changed.get('experiments'))
  const nodes = new Set(changed.get('nodes'))
  for (const id of changed.get('tasks') ?? []) {
    const [was, is] = [before.tasks.get(id), after.tasks.get(id)]
    const workload = (is ?? was)?.workload
    if (workload !== undefined) experiments.add(workload)
    const [left, taken] = [holderOf(was), holderOf(is)]
    if (left !== taken) for (const node of [left, taken]) if (node !== null) nodes.add(node)
  }
  for (const workload of silenced(changed.get('nodes'), before, after)) experiments.add(workload)
  return [
    ...[...experiments].flatMap((id) => {
      const was = before.experiments.get(id)
      const found = compared(was, after.experiments.get(id), before, after)
      return found ? [{ kind: 'experiment' as const, index, ...found, ...(was ? { was } : {}) }] : []
    }),
    ...[...nodes].flatMap((id) => {
      const found = compared(before.nodes.get(id), after.nodes.get(id), before, after)
      return found ? [{ kind: 'node' as const, index, ...found }] : []
    }),
    ...events.map((event) => ({
      kind: 'event' as const,
      index,
      type: 'ADDED' as const,
      state: after,
      event,
    })),
  ]
}

/** What runs on a node that fell silent or is back: its tasks say so. */
function silenced(nodes: ReadonlySet<string> | undefined, before: State, after: State): string[] {
  const since = (state: State, id: string) => state.nodes.get(id)?.unreachable_since ?? null
  const turned = [...(nodes ?? [])].filter((id) => since(before, id) !== since(after, id))
  if (!turned.length) return []
  return [...after.tasks.values()]
    .filter((task) => turned.includes(holderOf(task) ?? ''))
    .map((task) => task.workload)
}

/** The node whose resources the task holds. */
const holderOf = (task: TaskRow | undefined) => (task && holdsResources(task.state) ? task.node : null)

function compared<R>(was: R | undefined, is: R | undefined, before: State, after: State) {
  if (is !== undefined) {
    const type = was === undefined ? ('ADDED' as const) : ('MODIFIED' as const)
    return { type, row: is, state: after }
  }
  // What is gone is shown as it last was.
  return was === undefined ? undefined : { type: 'DELETED' as const, row: was, state: before }
}
