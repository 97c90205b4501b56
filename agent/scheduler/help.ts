import { formatConstraint, formatDuration, type Reason } from '../../contract/index.ts'
import type { State, TaskRow } from '../cluster/state.ts'
import type { Workload } from '../cluster/workloads.ts'
import type { ClusterIndex } from './cluster-index.ts'
import { type Gang, gangOf } from './gang.ts'
import { boundsFor } from './holds.ts'
import { endOf } from './gang.ts'
import type { Entry } from './lanes.ts'
import { hasRoom, placeGang } from './place.ts'
import type { Plan } from './plan.ts'
import type { Surroundings } from './surroundings.ts'
import { listed } from './words.ts'

interface Asked {
  readonly entry: Entry
  readonly plan: Plan
  readonly rules: readonly Reason[]
}

/** What would let it start sooner, each tried out on what is free now. */
export function helpFor(
  index: ClusterIndex,
  _state: State,
  surroundings: Surroundings,
  { entry, plan, rules }: Asked,
): string[] {
  const gang = entry.gangs[0]
  if (!gang) return []
  const fits = (other: Gang) => fitsNow(index, surroundings, plan, other)
  return [
    ...shorter(gang, plan, surroundings),
    ...fewerGpus(index, gang, fits),
    ...fewerTasks(index, gang, fits),
    ...without(index, gang, fits),
    ...ofNodes(index, gang),
    ...(rules.some(({ code }) => code === 'over_quota')
      ? ['an admin could raise the quota, or something of the same owner could end']
      : []),
  ]
}

function fitsNow(index: ClusterIndex, { now, images }: Surroundings, plan: Plan, gang: Gang): boolean {
  const { board } = index
  const bounds = boundsFor(plan.holds, gang.workload, endOf(gang.workload, now))
  if (!hasRoom(board, gang, bounds)) return false
  const mark = board.mark()
  const takes = placeGang({ board, images }, gang, bounds)
  for (const take of takes?.toReversed() ?? []) board.giveBack(take)
  board.rewind(mark)
  return takes !== undefined
}

function shorter(gang: Gang, { holds }: Plan, { now }: Surroundings): string[] {
  const others = holds.filter((hold) => hold.at > now && hold.owner.id !== gang.workload.id)
  const first = Math.min(...others.map(({ at }) => at))
  const seconds = Math.floor((first - now) / 1000) - gang.workload.grace_seconds
  const { limit_seconds } = gang.workload
  if (!others.length || seconds < 60 || (limit_seconds !== null && limit_seconds <= seconds)) return []
  return [
    `a time limit of at most ${formatDuration(seconds)} would let it use what is kept for others until then`,
  ]
}

const changed = (
  index: ClusterIndex,
  gang: Gang,
  change: (task: TaskRow) => TaskRow,
  more: Partial<Workload> = {},
): Gang => gangOf({ ...gang.workload, ...more }, gang.tasks.map(change), index.shapes)

function fewerGpus(index: ClusterIndex, gang: Gang, fits: (gang: Gang) => boolean): string[] {
  const most = Math.max(...gang.tasks.map(({ resources }) => resources.gpu))
  for (let gpu = most - 1; gpu > 0; gpu--) {
    const less = (task: TaskRow) =>
      task.resources.gpu > gpu ? { ...task, resources: { ...task.resources, gpu } } : task
    if (fits(changed(index, gang, less)))
      return [
        `with ${gpu} ${gpu === 1 ? 'GPU' : 'GPUs'} ${gang.tasks.length > 1 ? 'a task ' : ''}instead of ${most} it would start now`,
      ]
  }
  return []
}

function fewerTasks(index: ClusterIndex, gang: Gang, fits: (gang: Gang) => boolean): string[] {
  if (gang.tasks.length < 2 || gang.parts.length > 1) return []
  const room = Math.min(gang.tasks.length - 1, index.board.capacity(gang.parts[0]?.shape ?? raise()).total)
  if (room < 1) return []
  const less = gangOf(gang.workload, gang.tasks.slice(0, room), index.shapes)
  return fits(less) ? [`with ${room} instead of ${gang.tasks.length} tasks it would start now`] : []
}

/** Each thing it insists on, left out. */
function without(index: ClusterIndex, gang: Gang, fits: (gang: Gang) => boolean): string[] {
  const same = (task: TaskRow) => task
  const help: string[] = []
  const { constraints } = gang.workload
  for (const one of constraints)
    if (fits(changed(index, gang, same, { constraints: constraints.filter((other) => other !== one) })))
      help.push(`without ${formatConstraint(one)} it would start now`)
  const model = gang.tasks.find(({ gpu }) => gpu?.model)?.gpu?.model
  const anyModel = ({ gpu, ...task }: TaskRow): TaskRow => {
    const { model: _, ...rest } = gpu ?? {}
    return { ...task, ...(Object.keys(rest).length ? { gpu: rest } : {}) }
  }
  if (model && fits(changed(index, gang, anyModel)))
    help.push(`on GPUs other than ${model} it would start now`)
  return help
}

/** Nodes that could take it, were they not kept from work. */
function ofNodes({ board }: ClusterIndex, gang: Gang): string[] {
  const able = board.sites.filter((site) => gang.parts.some(({ shape }) => board.able(shape, site)))
  const cordoned = able.filter(({ row }) => row.cordon).map(({ row }) => row.name)
  const silent = able.filter(({ closed }) => closed?.code === 'node_silent').map(({ row }) => row.name)
  const foreign = gang.gpus ? able.filter(({ devices }) => devices.some(({ blocked }) => blocked?.code === 'foreign_process')).map(({ row }) => row.name) : [] // prettier-ignore
  return [
    ...(cordoned.length ? [`${listed(cordoned)} could take work again: \`submarine node uncordon\``] : []),
    ...(silent.length
      ? [
          `${listed(silent)} ${silent.length > 1 ? 'do' : 'does'} not answer; see to ${silent.length > 1 ? 'them' : 'it'}`,
        ]
      : []),
    ...(foreign.length
      ? [`processes outside the cluster use GPUs of ${listed(foreign)}; see \`submarine node get\``]
      : []),
  ]
}

function raise(): never {
  throw new Error('a gang without parts')
}
