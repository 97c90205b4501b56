import { holdsResources, isFinal, ProblemError } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { Victim } from '../commands/attempt.ts'
import type { Nomination, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { calledFor } from '../called.ts'
import { type Workload, workloadOf } from '../workloads.ts'
import { evictGang } from './eviction.ts'
import { tasksFor, waits } from './gangs.ts'
import { rankOf } from './nominations.ts'
import { mayReclaim } from './quota.ts'
import { settle } from './settle.ts'

/** Nothing is taken from what began only now, nor from the same workload again and again. */
export const preemptionBounds = {
  youngestMs: 10 * 60_000,
  most: 2,
  withinMs: 24 * 3600_000,
  /** What was freed waits so long for those it was freed for, after the last grace. */
  nominatedMs: 5 * 60_000,
} as const

export function preempt(
  tx: Transaction,
  { id, victims, reason, nominate }: Extract<Command, { type: 'workload.preempt' }>,
): void {
  const preemptor = workloadOf(tx.state, id)
  if (!preemptor || preemptor.stop_requested || isFinal(preemptor.state))
    throw new ProblemError('conflict', `${id} does not wait for a place`)
  const waiting = tasksFor(tx, preemptor).filter(waits)
  if (!waiting.length || !victims.length)
    throw new ProblemError('conflict', `${id} does not wait for the place of others`)
  const leaving: TaskRow[] = []
  const chosen = victims.map((victim) => {
    const checked = checkVictim(tx, preemptor, victim)
    leaving.push(...checked.tasks)
    // What is borrowed is told of all victims together: each alone might leave its team enough.
    checkReason(tx, preemptor, waiting, checked.workload, leaving)
    return checked
  })
  for (const { workload, tasks } of chosen) yieldPlace(tx, preemptor, workload, tasks, reason)
  const graceMs = Math.max(...chosen.map(({ workload }) => workload.grace_seconds)) * 1000
  const until = new Date(Date.parse(tx.at) + graceMs + preemptionBounds.nominatedMs).toISOString()
  const row = tx.need('experiments', id, 'experiment')
  const places = nominate ? namedPlaces(waiting, nominate) : placesOf(leaving)
  tx.put('experiments', id, { ...row, nominated: { until, places } })
}

function checkVictim(
  tx: Transaction,
  preemptor: Workload,
  victim: Victim,
): { workload: Workload; tasks: TaskRow[] } {
  const workload = workloadOf(tx.state, victim.workload)
  if (!workload || workload.id === preemptor.id)
    throw new ProblemError('conflict', `${victim.workload} is nothing that could give way`)
  const refuse = (why: string) => refusal(workload, why)
  const named = victim.tasks && new Set(victim.tasks)
  const tasks = tasksFor(tx, workload).filter(
    (task) => holdsResources(task.state) && !task.evict && (!named || named.has(task.id)),
  )
  if (!tasks.length) throw refuse('none of it runs')
  const now = Date.parse(tx.at)
  const { youngestMs, most, withinMs } = preemptionBounds
  const young = tasks.some(({ started_at }) => !started_at || now - Date.parse(started_at) <= youngestMs)
  if (young) throw refuse('it runs for less than 10 minutes')
  const since = new Date(now - withinMs).toISOString()
  const times = (tx.get('experiments', workload.id)?.preempted ?? []).filter((at) => at > since).length
  if (times >= most) throw refuse(`it was ${times} times within a day already`)
  return { workload, tasks }
}

/** A higher class takes from a lower one; and whoever is guaranteed GPUs gets back what others borrowed of them. */
function checkReason(
  tx: Transaction,
  preemptor: Workload,
  waiting: readonly TaskRow[],
  victim: Workload,
  leaving: readonly TaskRow[],
): void {
  if (mayReclaim(tx.state, preemptor, waiting, victim, leaving)) return
  if (!victim.preemptible) throw refusal(victim, 'it is not preemptible')
  if (rankOf(preemptor.priority) > rankOf(victim.priority)) return
  throw refusal(victim, `it is of class ${victim.priority}`)
}

const refusal = (workload: Workload, why: string) =>
  new ProblemError('conflict', `${workload.name} is not made to give way: ${why}`)

function yieldPlace(
  tx: Transaction,
  preemptor: Workload,
  workload: Workload,
  tasks: readonly TaskRow[],
  reason: { code: string; message: string },
): void {
  const { id, name, grace_seconds } = workload
  const row = tx.need('experiments', id, 'experiment')
  const preempted = [...(row.preempted ?? []), tx.at].slice(-preemptionBounds.most)
  tx.put('experiments', id, { ...row, preempted })
  tx.event(
    'experiment.preempted',
    { kind: 'experiment', id },
    `${name} gives way to ${calledFor(workload, preemptor)}: ${reason.message}`,
    reason,
  )
  for (const task of tasks) evictGang(tx, task, { cause: 'preempted', reason, grace_seconds, then: 'queue' })
  settle(tx, id)
}

const placesOf = (leaving: readonly TaskRow[]): Nomination['places'] =>
  leaving.flatMap(({ node, gpus, resources }) => (node === null ? [] : [{ node, gpus, resources }]))

/** The planner's own choice, which may be made of what was free and of what is freed. */
function namedPlaces(
  waiting: readonly TaskRow[],
  nominate: NonNullable<Extract<Command, { type: 'workload.preempt' }>['nominate']>,
): Nomination['places'] {
  const byId = new Map(waiting.map((task) => [task.id, task]))
  return nominate.map(({ task, node, gpus }) => {
    const resources = byId.get(task)?.resources
    if (!resources) throw new ProblemError('conflict', `${task} does not wait for a place`)
    return { node, gpus, resources }
  })
}
