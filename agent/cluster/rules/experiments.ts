import {
  type ExperimentPatch,
  holdsResources,
  isFinal,
  mostTags,
  ProblemError,
  type Reason,
  type Resources,
} from '../../../contract/index.ts'
import type { Command, Placement, Results } from '../commands.ts'
import type { ExperimentRow, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { type Free, freeOf, holdersByNode, lacking, subtract } from './capacity.ts'
import { experimentVersion, requestStop, settle, tasksOf } from './settle.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

const keepIdempotencyMs = 24 * 3600 * 1000
/** So many are kept however old: their age stands on the clock of whoever proposes, which may be days ahead. */
const keepIdempotencyRows = 10_000

export function create(
  tx: Transaction,
  { id, spec, owner, idempotency }: Of<'experiment.create'>,
): Results['experiment.create'] {
  if (idempotency) {
    const seen = tx.get('idempotency', idempotency.key)
    if (seen && seen.request_sha256 !== idempotency.request_sha256)
      throw new ProblemError('idempotency_mismatch', 'this Idempotency-Key was used for another request')
    if (seen) return { id: seen.made, made: false }
    forgetOld(tx)
    tx.put('idempotency', idempotency.key, {
      request_sha256: idempotency.request_sha256,
      made: id,
      at: tx.at,
    })
  }
  if (tx.get('experiments', id)) throw new ProblemError('conflict', `the id ${id} is taken`)
  const tasks: string[] = []
  for (const [role, { replicas, resources }] of Object.entries(spec.roles))
    for (let index = 0; index < replicas; index++) tasks.push(addTask(tx, id, role, index, resources))
  tx.put('experiments', id, {
    id, name: spec.name, owner, spec, state: 'Accepted', reason: null, stop_requested: false,
    created_at: tx.at, started_at: null, finished_at: null, tasks,
  }) // prettier-ignore
  tx.event('experiment.accepted', { kind: 'experiment', id }, `${owner} submitted ${spec.name}`)
  return { id, made: true }
}

function addTask(
  tx: Transaction,
  workload: string,
  role: string,
  index: number,
  resources: Resources,
): string {
  const id = `${workload}-${role}-${index}`
  tx.put('tasks', id, {
    id, workload, role, index, state: 'Accepted', reason: null, resources, attempt: 0, node: null, runtime: null, gpus: [],
    token_sha256: null, exit_code: null, started_at: null, finished_at: null, artifacts: null, log: null, metrics: null,
  }) // prettier-ignore
  return id
}

function forgetOld(tx: Transaction): void {
  const surplus = tx.state.idempotency.size - keepIdempotencyRows
  if (surplus <= 0) return
  const before = new Date(Date.parse(tx.at) - keepIdempotencyMs).toISOString()
  const old = [...tx.state.idempotency].filter(([, row]) => row.at < before)
  old.sort(([, a], [, b]) => a.resource_version - b.resource_version)
  for (const [key] of old.slice(0, surplus)) tx.delete('idempotency', key)
}

/** A merge patch (RFC 7396). One that changes nothing leaves the version as it is. */
export function edit(tx: Transaction, { id, patch, if_version }: Of<'experiment.edit'>): void {
  const experiment = tx.need('experiments', id, 'experiment')
  const version = experimentVersion(experiment, tasksOf(tx, experiment))
  if (if_version !== undefined && if_version !== version)
    throw new ProblemError('precondition_failed', `${id} is at version ${version}`)
  const { description = '', tags = {} } = experiment
  const next = {
    description: patch.description === undefined ? description : (patch.description ?? ''),
    tags: mergedTags(tags, patch.tags),
  }
  const changed = [
    ...(next.description === description ? [] : ['description']),
    ...(sameTags(next.tags, tags) ? [] : ['tags']),
  ]
  if (!changed.length) return
  tx.put('experiments', id, { ...experiment, ...next })
  tx.event(
    'experiment.edited',
    { kind: 'experiment', id },
    `${tx.actor} changed the ${changed.join(' and the ')} of ${experiment.name}`,
  )
}

type Tags = NonNullable<ExperimentRow['tags']>

function mergedTags(tags: Tags, patch: ExperimentPatch['tags']): Tags {
  if (patch === undefined) return tags
  const merged = new Map(patch === null ? [] : Object.entries(tags))
  for (const [key, value] of Object.entries(patch ?? {}))
    if (value === null) merged.delete(key)
    else merged.set(key, value)
  if (merged.size > mostTags)
    throw new ProblemError('invalid_request', undefined, {
      errors: [{ pointer: '/tags', message: `expected at most ${mostTags} tags in all, not ${merged.size}` }],
    })
  return Object.fromEntries(merged)
}

function sameTags(a: Tags, b: Tags): boolean {
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key])
  )
}

export function stop(tx: Transaction, { id }: Of<'experiment.stop'>): void {
  const experiment = tx.need('experiments', id, 'experiment')
  if (isFinal(experiment.state))
    throw new ProblemError('conflict', `${experiment.name} has ended already: ${experiment.state}`)
  if (experiment.stop_requested) return
  tx.event(
    'experiment.stop_requested',
    { kind: 'experiment', id },
    `${tx.who} asked to stop ${experiment.name}`,
  )
  requestStop(tx, experiment, { code: 'stopped', message: `stopped by ${tx.who}` })
}

export function remove(tx: Transaction, { id, if_version }: Of<'experiment.delete'>): void {
  const experiment = tx.need('experiments', id, 'experiment')
  if (if_version !== undefined && if_version !== experiment.resource_version)
    throw new ProblemError('precondition_failed', `${id} is at version ${experiment.resource_version}`)
  if (!isFinal(experiment.state))
    throw new ProblemError('conflict', `${experiment.name} is ${experiment.state}`, {
      hint: 'Stop it first.',
    })
  for (const task of experiment.tasks) tx.delete('tasks', task)
  tx.delete('experiments', id)
  tx.event('experiment.deleted', { kind: 'experiment', id }, `${tx.who} deleted ${experiment.name}`)
}

export function queue(tx: Transaction, { id, reason }: Of<'workload.wait'>): void {
  const experiment = tx.need('experiments', id, 'experiment')
  const waiting = experiment.state === 'Accepted' || experiment.state === 'Queued'
  if (!waiting || sameReason(experiment.reason, reason)) return
  for (const task of tasksOf(tx, experiment))
    if (!isFinal(task.state)) tx.put('tasks', task.id, { ...task, state: 'Queued', reason })
  tx.put('experiments', id, { ...experiment, state: 'Queued', reason })
  // The sentence may name figures that change every second; the event tells only that the cause did.
  if (experiment.reason?.code !== reason.code)
    tx.event(
      'experiment.queued',
      { kind: 'experiment', id },
      `${experiment.name} waits: ${reason.message}`,
      reason,
    )
}

const sameReason = (a: Reason | null, b: Reason) => a?.code === b.code && a.message === b.message

/** Place a whole gang or nothing: every waiting task of the experiment, each on a node that has room for it. */
export function place(tx: Transaction, { id, placements }: Of<'workload.place'>): void {
  const experiment = tx.need('experiments', id, 'experiment')
  if (experiment.stop_requested || isFinal(experiment.state))
    throw new ProblemError('conflict', `${id} is not waiting to be placed`)
  const waiting = tasksOf(tx, experiment).filter(
    (task) => !isFinal(task.state) && !holdsResources(task.state),
  )
  const placed = new Map(placements.map((placement) => [placement.task, placement]))
  if (
    placed.size !== placements.length ||
    placed.size !== waiting.length ||
    !waiting.every((task) => placed.has(task.id))
  )
    throw new ProblemError(
      'conflict',
      `a placement must name each of the ${waiting.length} waiting tasks of ${id} once`,
    )
  const holders = holdersByNode(tx.state)
  const free = new Map<string, Free>()
  for (const task of waiting) {
    const placement = placed.get(task.id)
    if (!placement) continue
    const node = tx.need('nodes', placement.node, 'node')
    const before = free.get(node.id) ?? freeOf(node, holders.get(node.id) ?? [])
    if (!node.inventory?.runtimes.includes(placement.runtime))
      throw new ProblemError('conflict', `node ${node.name} has no runtime ${placement.runtime}`)
    free.set(node.id, take(task, placement, before))
    start(tx, task, placement, node.name)
  }
  tx.put('experiments', id, { ...experiment, reason: null })
  settle(tx, id)
}

/** What is left of a node after the placement; throws when it would be over-committed or a device had two owners. */
function take(task: TaskRow, { attempt, node, gpus }: Placement, free: Free): Free {
  if (attempt !== task.attempt + 1)
    throw new ProblemError('stale_attempt', `${task.id} is at attempt ${task.attempt}`)
  const short = lacking(task.resources, free.resources)
  if (short.length)
    throw new ProblemError('conflict', `${node} has not enough ${short.join(', ')} left for ${task.id}`)
  const unavailable = gpus.filter((uuid) => !free.gpus.includes(uuid))
  if (gpus.length !== task.resources.gpu || new Set(gpus).size !== gpus.length || unavailable.length)
    throw new ProblemError(
      'conflict',
      `the GPUs chosen on ${node} for ${task.id} are not ${task.resources.gpu} free ones`,
    )
  return {
    resources: subtract(free.resources, task.resources),
    gpus: free.gpus.filter((uuid) => !gpus.includes(uuid)),
  }
}

function start(
  tx: Transaction,
  task: TaskRow,
  { attempt, node, runtime, gpus }: Placement,
  nodeName: string,
): void {
  tx.put('tasks', task.id, {
    ...task, state: 'Starting', reason: null, attempt, node, runtime, gpus, token_sha256: null, exit_code: null,
    started_at: null, finished_at: null, artifacts: null, log: null, metrics: null,
  }) // prettier-ignore
  tx.event(
    'task.placed',
    { kind: 'task', id: task.id },
    `${task.id} was placed on ${nodeName}, attempt ${attempt}`,
  )
}
