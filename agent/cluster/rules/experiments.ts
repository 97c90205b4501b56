import {
  type ExperimentPatch,
  isFinal,
  mostTags,
  ProblemError,
  type Reason,
} from '../../../contract/index.ts'
import type { Command, Results } from '../commands.ts'
import { tasksOfSpec } from '../spec-tasks.ts'
import type { ExperimentRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { waits } from './gangs.ts'
import { checkQueue } from './order.ts'
import { checkSecrets } from '../secret-access.ts'
import { checkContainer } from './policy.ts'
import { checkOwnTeam } from './teams.ts'
import { ensureUid } from './uids.ts'
import { experimentVersion, follow, requestStop, tasksOf } from './settle.ts'

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
  checkQueue(tx.state, spec)
  checkOwnTeam(tx, owner, spec.team)
  checkContainer(tx.state, spec, owner)
  checkSecrets(tx.state, spec.secrets, owner)
  ensureUid(tx, owner)
  const tasks = tasksOfSpec(spec).map((task) => addTask(tx, id, task))
  tx.put('experiments', id, {
    id, name: spec.name, owner, spec, state: 'Accepted', reason: null, stop_requested: false,
    created_at: tx.at, started_at: null, finished_at: null, tasks,
  }) // prettier-ignore
  tx.event('experiment.accepted', { kind: 'experiment', id }, `${owner} submitted ${spec.name}`)
  return { id, made: true }
}

function addTask(tx: Transaction, workload: string, task: ReturnType<typeof tasksOfSpec>[number]): string {
  const id = `${workload}-${task.role}-${task.index}`
  tx.put('tasks', id, {
    id, workload, ...task, state: 'Accepted', reason: null, attempt: 0, node: null, runtime: null, gpus: [],
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

/** Why what waits of it waits: all of a gang, or the tasks of an array that have no place yet. */
export function queue(tx: Transaction, { id, reason }: Of<'workload.wait'>): void {
  const experiment = tx.need('experiments', id, 'experiment')
  const waiting = tasksOf(tx, experiment).filter(waits)
  const told = waiting.every((task) => task.state === 'Queued' && sameReason(task.reason, reason))
  const first = waiting[0]
  if (!first || told) return
  for (const task of waiting) tx.put('tasks', task.id, { ...task, state: 'Queued', reason })
  tx.put('experiments', id, { ...experiment, reason })
  // The sentence may name figures that change every second; the event tells only that the cause did.
  if (first.state !== 'Queued' || first.reason?.code !== reason.code)
    tx.event(
      'experiment.queued',
      { kind: 'experiment', id },
      `${experiment.name} waits: ${reason.message}`,
      reason,
    )
  follow(tx, id)
}

const sameReason = (a: Reason | null, b: Reason) => a?.code === b.code && a.message === b.message
