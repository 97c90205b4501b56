import type { Command } from '../../agent/cluster/commands.ts'
import type { Take } from '../../agent/scheduler/board.ts'
import { finish } from '../../agent/scheduler/cluster-index.ts'
import type { Gang } from '../../agent/scheduler/gang.ts'
import { placementsOf } from '../../agent/scheduler/pass.ts'
import { planSteps } from '../../agent/scheduler/plan.ts'
import { calm } from '../../agent/scheduler/surroundings.ts'
import type { Lab } from './lab.ts'

/** What decides where waiting work goes. */
export type Policy = (lab: Lab) => Command[]

/** The production planner, on the index that follows the state. */
export const planner: Policy = (lab) => {
  const { place, preempt, evict } = finish(
    planSteps(lab.index, lab.state, calm(lab.now), { tell: 'nothing' }),
  )
  return [
    ...evict.map((eviction) => ({ type: 'workload.evict' as const, ...eviction })),
    ...preempt.map((preemption) => ({ type: 'workload.preempt' as const, ...preemption })),
    ...place.map(({ workload: id, placements }) => ({ type: 'workload.place' as const, id, placements })),
  ]
}

/** One queue in the order of arrival; who finds no room keeps everybody behind waiting. */
export const fifo: Policy = (lab) => inOrderOfArrival(lab, true)
/** The same, but whoever finds room goes. */
export const firstFit: Policy = (lab) => inOrderOfArrival(lab, false)

function inOrderOfArrival(lab: Lab, strict: boolean): Command[] {
  const { board, lanes } = lab.index
  board.refresh(calm(lab.now))
  const waiting = [...lanes.byKey.values()]
    .flatMap(({ members }) => members)
    .toSorted((a, b) =>
      a.workload.created_at + a.workload.id < b.workload.created_at + b.workload.id ? -1 : 1,
    )
  const commands: Command[] = []
  const taken: Take[] = []
  const failed = new Set<string>()
  for (const { workload, gangs } of waiting) {
    const gang = gangs[0]
    if (!gang) continue
    const takes = failed.has(gang.family) ? undefined : firstSites(lab, gang)
    if (takes) {
      taken.push(...takes)
      commands.push({ type: 'workload.place', id: workload.id, placements: placementsOf(gang, takes) })
    } else if (strict) break
    else failed.add(gang.family)
  }
  for (const take of taken.reverse()) board.giveBack(take)
  return commands
}

function firstSites({ index: { board } }: Lab, gang: Gang): Take[] | undefined {
  const byTask = new Map<string, Take>()
  for (const { shape, tasks } of gang.parts)
    for (const task of tasks) {
      const { of } = board.capacity(shape)
      const site = board.sites.find(({ index }) => (of[index] ?? 0) > 0)
      const take = site && board.take(shape, site)
      if (!take) {
        for (const before of [...byTask.values()].reverse()) board.giveBack(before)
        return undefined
      }
      byTask.set(task.id, take)
    }
  return gang.tasks.flatMap(({ id }) => byTask.get(id) ?? [])
}
