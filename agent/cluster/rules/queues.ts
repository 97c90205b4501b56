import { isFinal, priorityClasses, ProblemError } from '../../../contract/index.ts'
import type { OrderCommand } from '../commands/order.ts'
import type { QueueRow, QuotaRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { defaultQueue, queueOf } from '../workloads.ts'
import { free, thePrices } from './prices.ts'
import { whose } from './quota.ts'
import { checkVersion } from './versions.ts'

type Of<T extends OrderCommand['type']> = Extract<OrderCommand, { type: T }>
type Without<T> = Omit<T, 'resource_version'>

export function putQueue(tx: Transaction, { name, change, if_version }: Of<'queue.put'>): void {
  const before = tx.get('queues', name)
  checkVersion(`the queue ${name}`, before?.resource_version ?? 0, if_version)
  const next: Without<QueueRow> = { ...queueOf(tx.state, name), ...given(change) }
  const rank = (priority: QueueRow['priority']) => priorityClasses.indexOf(priority)
  if (rank(next.priority) > rank(next.max_priority))
    throw invalid('/priority', `expected at most the highest class of the queue, ${next.max_priority}`)
  const { max_runtime_seconds: most, default_runtime_seconds: usual } = next
  if (most !== null && usual !== null && usual > most)
    throw invalid('/default_runtime', `expected at most the longest timeout of the queue, ${most} seconds`)
  tx.put('queues', name, next)
  const isNew = !before && name !== defaultQueue
  tx.event(
    isNew ? 'queue.created' : 'queue.changed',
    { kind: 'queue', id: name },
    `${tx.who} ${isNew ? 'made' : 'changed'} the queue ${name}`,
  )
}

export function deleteQueue(tx: Transaction, { name }: Of<'queue.delete'>): void {
  if (name === defaultQueue && !tx.get('queues', name))
    throw new ProblemError('conflict', 'the queue default is as it was made, and cannot be deleted', {
      hint: '`submarine queue set default --close` closes it for new work.',
    })
  tx.need('queues', name, 'queue')
  const inside = [...tx.state.experiments.values()].filter(
    ({ spec, state }) => (spec.queue ?? defaultQueue) === name && !isFinal(state),
  )
  if (inside.length && name !== defaultQueue)
    throw new ProblemError('conflict', `${inside.length} ${inside.length === 1 ? 'workload waits or runs' : 'workloads wait or run'} in the queue ${name}`, {
      hint: 'Close it, so that nothing new comes in, and wait until they are done, or stop them.',
    }) // prettier-ignore
  tx.delete('queues', name)
  const back =
    name === defaultQueue ? `set the queue ${name} back to how it was made` : `deleted the queue ${name}`
  tx.event('queue.deleted', { kind: 'queue', id: name }, `${tx.who} ${back}`)
}

const noLimits: QuotaRow['limits'] = {
  gpu: null,
  cpu: null,
  memory: null,
  disk: null,
  running: null,
  gpu_hours_month: null,
  money_month: null,
}

export function putQuota(tx: Transaction, { subject, change, if_version }: Of<'quota.put'>): void {
  const before = tx.get('quotas', subject)
  checkVersion(`the quota of ${subject}`, before?.resource_version ?? 0, if_version)
  const limits = { ...noLimits, ...before?.limits, ...given(change.limits ?? {}) }
  const guaranteed_gpu = change.guaranteed_gpu ?? before?.guaranteed_gpu ?? 0
  const weight = change.weight ?? before?.weight ?? 1
  if (limits.gpu !== null && guaranteed_gpu > limits.gpu)
    throw invalid('/guaranteed_gpu', `expected at most the limit of ${limits.gpu} GPUs`)
  if (subject === 'cluster' && (guaranteed_gpu > 0 || weight !== 1))
    throw invalid(
      guaranteed_gpu > 0 ? '/guaranteed_gpu' : '/weight',
      'expected none: the cluster shares with nobody',
    )
  tx.put('quotas', subject, { limits, guaranteed_gpu, weight })
  tx.event('quota.set', { kind: 'quota', id: subject }, `${tx.who} set the quota of ${whose(subject)}: ${inWords({ limits, guaranteed_gpu, weight })}`) // prettier-ignore
}

function inWords({ limits, guaranteed_gpu, weight }: Without<QuotaRow>): string {
  const bound = Object.entries(limits).flatMap(([kind, value]) =>
    value === null ? [] : [`${kind} ${value}`],
  )
  return [...bound, `guaranteed GPUs ${guaranteed_gpu}`, `weight ${weight}`].join(', ')
}

export function deleteQuota(tx: Transaction, { subject }: Of<'quota.delete'>): void {
  tx.need('quotas', subject, 'quota of')
  tx.delete('quotas', subject)
  tx.event(
    'quota.deleted',
    { kind: 'quota', id: subject },
    `${tx.who} took away the quota of ${whose(subject)}`,
  )
}

export function putPrices(tx: Transaction, { change }: Of<'prices.put'>): void {
  const next = { ...free, ...tx.get('prices', thePrices), ...given(change) }
  tx.put('prices', thePrices, next)
  const { currency, gpu, gpu_models, cpu, memory_gib } = next
  const models = Object.entries(gpu_models).map(([model, price]) => `${model} ${price}`)
  const list = [`GPU ${gpu}`, ...models, `core ${cpu}`, `GiB of memory ${memory_gib}`].join(', ')
  tx.event(
    'prices.set',
    { kind: 'cluster', id: 'prices' },
    `${tx.who} set the prices of an hour in ${currency}: ${list}`,
  )
}

const invalid = (pointer: string, message: string) =>
  new ProblemError('invalid_request', undefined, { errors: [{ pointer, message }] })

const given = <T extends object>(change: T): T =>
  Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as T
