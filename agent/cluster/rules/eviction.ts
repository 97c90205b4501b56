import { holdsResources, ProblemError } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { Eviction, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { peersOf, workloadFor } from './gangs.ts'
import { settle } from './settle.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

/** What ends a task outranks what lets it wait again: a second eviction never takes a first one back. */
const weight: Record<Eviction['then'], number> = { queue: 0, stop: 1, fail: 2 }

/** A gang leaves its nodes as a whole; each node sees it in its replica and stops its task, with the grace given. */
export function evictGang(tx: Transaction, task: TaskRow, eviction: Omit<Eviction, 'at'>): void {
  for (const one of [task, ...peersOf(tx, task)]) evict(tx, one.id, { ...eviction, at: tx.at })
}

/** The rest of a gang follows one that ended. */
export function evictPeers(tx: Transaction, task: TaskRow, eviction: Omit<Eviction, 'at'>): void {
  for (const peer of peersOf(tx, task)) evict(tx, peer.id, { ...eviction, at: tx.at })
}

function evict(tx: Transaction, id: string, eviction: Eviction): void {
  const task = tx.need('tasks', id, 'task')
  if (!holdsResources(task.state)) return
  if (task.evict && weight[task.evict.then] >= weight[eviction.then]) return
  tx.put('tasks', id, { ...task, evict: eviction })
  tx.event(
    'task.evicted',
    { kind: 'task', id },
    `${id} is asked to leave its node: ${eviction.reason.message}`,
    eviction.reason,
  )
}

export function evictTasks(tx: Transaction, { id, tasks, eviction }: Of<'workload.evict'>): void {
  let any = false
  for (const name of tasks) {
    const task = tx.need('tasks', name, 'task')
    if (task.workload !== id) throw new ProblemError('conflict', `${name} is no task of ${id}`)
    if (!holdsResources(task.state)) continue
    const { grace_seconds = workloadFor(tx, task).grace_seconds } = eviction
    evictGang(tx, task, { ...eviction, grace_seconds })
    any = true
  }
  if (any) settle(tx, id)
}
