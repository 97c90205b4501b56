import { holdsResources, type Reason } from '../../../contract/index.ts'
import type { NodeLiveness } from '../cluster.ts'
import type { Command } from '../commands.ts'
import { hasBegun } from '../rules/loss.ts'
import type { State, TaskRow } from '../state.ts'
import { workloadOf } from '../workloads.ts'

/**
 * Beyond the lease and the grace of its stop: for clocks that drift apart (one in twenty at the shortest usual lease)
 * and for an answer that was under way.
 */
export const leaseMarginSeconds = 30

type Lost = Extract<Command, { type: 'task.lost' }>

/**
 * Which tasks are given up, as the leader judges its nodes now: by their loss policies. `unrenewed`: for how long, ms,
 * a node is sure not to have renewed its leases where this leader did not hear of it.
 */
export function lossesDue(
  state: State,
  liveness: ReadonlyMap<string, NodeLiveness>,
  unrenewed: (node: string) => number,
): Lost[] {
  const silent = [...liveness].filter(
    ([, { liveness: life }]) => life === 'unreachable' || life === 'suspect',
  )
  if (!silent.length) return []
  const judged = new Map(silent)
  return [...state.tasks.values()].flatMap((task) => {
    const node = task.node === null ? undefined : judged.get(task.node)
    return node && holdsResources(task.state) ? (lossOf(state, task, node, unrenewed) ?? []) : []
  })
}

function lossOf(
  state: State,
  task: TaskRow,
  { liveness, silent_ms }: NodeLiveness,
  unrenewed: (node: string) => number,
): Lost | undefined {
  const workload = workloadOf(state, task.workload)
  if (!workload || silent_ms === null) return undefined
  const name = state.nodes.get(task.node ?? '')?.name ?? task.node ?? ''
  const lost = (message: string, unstarted = false): Lost => {
    const reason: Reason = { code: 'node_lost', message: `${name} does not answer: ${message}` }
    const { id, attempt } = task
    return { type: 'task.lost', task: id, attempt, reason, ...(unstarted ? { unstarted } : {}) }
  }
  const unreachable = liveness === 'unreachable'
  if (unreachable && !hasBegun(task)) return lost('it had not begun there', true)
  const policy = workload.loss_policy
  if (unreachable && policy.kind === 'replace-now')
    return lost('it is replaced at once, and may still run there until that host is heard again')
  if (policy.kind !== 'lease') return undefined
  const over = 1000 * (policy.seconds + graceOf(task, workload.grace_seconds) + leaseMarginSeconds)
  if (silent_ms < over || unrenewed(task.node ?? '') < over) return undefined
  return lost('its lease is over, so it was stopped there by now')
}

/** The longest that its node may take from SIGTERM to SIGKILL, whatever it was asked. */
const graceOf = (task: TaskRow, usual: number) => Math.max(usual, task.evict?.grace_seconds ?? 0)
