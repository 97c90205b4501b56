import { isFinal, type Liveness, type Reason } from '../../contract/index.ts'
import type { Placement } from '../cluster/commands.ts'
import { devicesFor, type Free, freeOf, holdersByNode, without } from '../cluster/rules/capacity.ts'
import type { ExperimentRow, NodeRow, State, TaskRow } from '../cluster/state.ts'
import { runtimeFor, whyNot } from './fit.ts'

/** What the planner knows beside the replicated state: how each node lives, and which are short of disk. */
export interface Surroundings {
  readonly liveness: (node: string) => Liveness
  readonly diskLow: (node: string) => boolean
}

export interface Plan {
  readonly place: readonly { readonly experiment: string; readonly placements: readonly Placement[] }[]
  readonly wait: readonly { readonly experiment: string; readonly reason: Reason }[]
}

/**
 * Where the waiting experiments go, oldest first; each whole or not at all. Pure: the same state gives the same plan,
 * and applying a plan checks everything again.
 */
export function plan(state: State, surroundings: Surroundings): Plan {
  const place: { experiment: string; placements: Placement[] }[] = []
  const wait: { experiment: string; reason: Reason }[] = []
  const nodes = [...state.nodes.values()].toSorted((a, b) => a.member - b.member)
  const holders = holdersByNode(state)
  let free = new Map(nodes.map((node) => [node.id, freeOf(node, holders.get(node.id) ?? [])]))
  for (const experiment of waitingInOrder(state)) {
    const tried = placeGang(state, experiment, nodes, free, surroundings)
    if ('reason' in tried) wait.push({ experiment: experiment.id, reason: tried.reason })
    else {
      place.push({ experiment: experiment.id, placements: tried.placements })
      free = tried.free
    }
  }
  return { place, wait }
}

function waitingInOrder(state: State): ExperimentRow[] {
  return [...state.experiments.values()]
    .filter((e) => (e.state === 'Accepted' || e.state === 'Queued') && !e.stop_requested)
    .toSorted((a, b) => compare(a.created_at, b.created_at) || compare(a.id, b.id))
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

type Tried = { placements: Placement[]; free: Map<string, Free> } | { reason: Reason }

/** First fit on a scratch copy of what is free: every waiting task finds a node, or none is placed. */
function placeGang(
  state: State,
  experiment: ExperimentRow,
  nodes: readonly NodeRow[],
  before: ReadonlyMap<string, Free>,
  surroundings: Surroundings,
): Tried {
  const free = new Map(before)
  const placements: Placement[] = []
  for (const id of experiment.tasks) {
    const task = state.tasks.get(id)
    if (!task || isFinal(task.state)) continue
    const found = firstFit(experiment, task, nodes, free, surroundings)
    if ('why' in found) return { reason: waitReason(task, experiment, found.why) }
    const { node, left } = found
    const gpus = devicesFor(node, task, left).slice(0, task.resources.gpu)
    const runtime = runtimeFor(node, experiment.spec.roles[task.role] ?? {}) ?? 'docker'
    placements.push({ task: id, attempt: task.attempt + 1, node: node.id, runtime, gpus })
    free.set(node.id, without(left, task, gpus))
  }
  return { placements, free }
}

function firstFit(
  experiment: ExperimentRow,
  task: TaskRow,
  nodes: readonly NodeRow[],
  free: ReadonlyMap<string, Free>,
  surroundings: Surroundings,
): { node: NodeRow; left: Free } | { why: string[] } {
  const image = experiment.spec.roles[task.role]?.image
  const why: string[] = []
  for (const node of nodes) {
    const left = free.get(node.id)
    if (!left) continue
    const reason = unfit(node, surroundings) ?? whyNot(node, image, task, left)
    if (!reason) return { node, left }
    why.push(`${node.name}: ${reason}`)
  }
  return { why }
}

function unfit(node: NodeRow, { liveness, diskLow }: Surroundings): string | undefined {
  const life = liveness(node.id)
  if (life !== 'ready') return life === 'unknown' ? 'not heard of yet' : `is ${life}`
  return diskLow(node.id) ? 'disk low' : undefined
}

function waitReason(task: TaskRow, experiment: ExperimentRow, why: readonly string[]): Reason {
  const which = experiment.tasks.length > 1 ? ` for ${task.role} ${task.index}` : ''
  const message = why.length ? `no node has room${which} (${why.join('; ')})` : 'no node has joined yet'
  return { code: 'no_room', message }
}
