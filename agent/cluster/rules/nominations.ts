import { priorityClasses, type PriorityClass } from '../../../contract/index.ts'
import type { NodeRow, State, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { type Workload, workloadOf } from '../workloads.ts'
import { add, type Free, freeOf, nothing } from './capacity.ts'
import { nominatedIn } from './holdings.ts'

export const rankOf = (priority: PriorityClass): number => priorityClasses.indexOf(priority)

type Kept = Pick<Free, 'resources' | 'gpus'>
/** What others were made to leave, node by node: for those it was not freed for, it is not there. */
export type Nominated = ReadonlyMap<string, Kept>

/** What is kept from this workload at this time: what is nominated to others of its class or above. */
export function nominatedAgainst(state: State, workload: Workload, at: string): Nominated {
  const kept = new Map<string, Kept>()
  for (const id of [...nominatedIn(state)].toSorted()) {
    const nominated = state.experiments.get(id)?.nominated
    if (!nominated || nominated.until <= at || id === workload.id) continue
    const other = workloadOf(state, id)
    if (!other || rankOf(other.priority) < rankOf(workload.priority)) continue
    for (const { node, gpus, resources } of nominated.places) {
      const before = kept.get(node) ?? { resources: nothing, gpus: [] }
      kept.set(node, { resources: add(before.resources, resources), gpus: [...before.gpus, ...gpus] })
    }
  }
  return kept
}

/**
 * What a node has free for somebody the nominations are kept from: what is free now, and not more than what would be
 * when those who were asked to leave have left and the others have come.
 */
export function besideNominated(node: NodeRow, holders: readonly TaskRow[], free: Free, kept: Kept): Free {
  const staying = freeOf(node, holders.filter((task) => !task.evict)).resources // prettier-ignore
  const least = (kind: keyof Free['resources']) =>
    Math.min(free.resources[kind], Math.round((staying[kind] - kept.resources[kind]) * 1000) / 1000)
  return {
    resources: { cpu: least('cpu'), memory: least('memory'), gpu: least('gpu'), disk: least('disk') },
    gpus: free.gpus.filter((uuid) => !kept.gpus.includes(uuid)),
    shares: new Map([...free.shares].filter(([uuid]) => !kept.gpus.includes(uuid))),
  }
}

/** For a placement: what a node has left for the workload. */
export function leftBesideNominations(tx: Transaction, workload: Workload) {
  const kept = nominatedAgainst(tx.state, workload, tx.at)
  return (node: NodeRow, holders: readonly TaskRow[], free: Free): Free => {
    const here = kept.get(node.id)
    return here ? besideNominated(node, holders, free, here) : free
  }
}
