import { randomBytes } from 'node:crypto'
import type { QueueInput, QuotaInput, ReservationInput } from '../../contract/index.ts'
import { type Actor, levelOf, Name, type Prices, type PricesInput, ProblemError, type Queue, type QuotaUse, type Reservation, Subject } from '../../contract/index.ts' // prettier-ignore
import type { z } from 'zod'
import { free, thePrices } from '../cluster/rules/prices.ts'
import { monthUseOf, usageOf } from '../cluster/rules/quota.ts'
import type { QueueRow, QuotaRow, State } from '../cluster/state.ts'
import { defaultQueue, queueOf } from '../cluster/workloads.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { nodeFor } from './nodes.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { present } from './present.ts'
import { ofSubject } from './seen.ts'

type Query = PageQuery & { consistency: Consistency }

/** Who is served when and of how much: queues, quotas, reservations, prices. */
export interface OrderService {
  queues(actor: Actor, query: Query): Promise<Page<Queue>>
  putQueue(actor: Actor, name: string, input: z.output<typeof QueueInput>, ifVersion?: number): Promise<Queue>
  deleteQueue(actor: Actor, name: string): Promise<void>
  quotas(actor: Actor, query: Query): Promise<Page<QuotaUse>>
  putQuota(
    actor: Actor,
    subject: string,
    input: z.output<typeof QuotaInput>,
    ifVersion?: number,
  ): Promise<QuotaUse>
  deleteQuota(actor: Actor, subject: string): Promise<void>
  reservations(actor: Actor, query: Query): Promise<Page<Reservation>>
  reserve(actor: Actor, input: z.output<typeof ReservationInput>): Promise<Reservation>
  /** By id, or by name where only one has it. */
  unreserve(actor: Actor, ref: string): Promise<void>
  prices(actor: Actor, query: { consistency: Consistency }): Promise<Prices>
  putPrices(actor: Actor, change: PricesInput): Promise<Prices>
}

export function createOrder(deps: ServiceDeps): OrderService {
  const { cluster } = deps
  const now = deps.now ?? Date.now
  const pageBy = <R, T>(rows: readonly R[], query: Query, keyOf: (row: R) => string, view: (row: R) => T) => {
    const sorted = rows.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    return pageOf(sorted, query, 'ascending', keyOf, view, cluster.status().applied)
  }
  return {
    ...queuesAndQuotas(deps, now, pageBy),
    async reservations(actor, query) {
      demand(actor, 'queue:read')
      await settled(cluster, query.consistency)
      const rows = [...cluster.state().reservations.values()]
      return pageBy(rows, query, ({ starts_at, id }) => `${starts_at} ${id}`, reservationView)
    },
    async reserve(actor, input) {
      demand(actor, 'queue:admin')
      await cluster.barrier()
      const id = `res-${now().toString(36)}-${randomBytes(3).toString('hex')}`
      const nodes = input.nodes.map((ref) => nodeFor(cluster.state(), ref).id)
      const starts_at = input.starts_at ?? new Date(now()).toISOString()
      const { name, holders, gpus = null, ends_at, over_running } = input
      const command = { id, name, holders, nodes, gpus, starts_at, ends_at, over_running }
      await cluster.propose({ type: 'reservation.create', ...command }, actor)
      const made = cluster.state().reservations.get(id)
      if (!made) throw new ProblemError('not_found', `the reservation ${name} was made, and taken back since`)
      return reservationView(made)
    },
    async unreserve(actor, ref) {
      demand(actor, 'queue:admin')
      await cluster.barrier()
      const rows = cluster.state().reservations
      const named = rows.has(ref) ? [ref] : [...rows.values()].filter(({ name }) => name === ref).map(({ id }) => id) // prettier-ignore
      const [id] = named
      if (named.length > 1)
        throw new ProblemError('conflict', `${named.length} reservations are named ${ref}`, {
          hint: `Give an id: ${named.slice(0, 5).join(', ')}`,
        })
      if (id === undefined) throw new ProblemError('not_found', `there is no reservation ${ref}`)
      await cluster.propose({ type: 'reservation.delete', id }, actor)
    },
    async prices(actor, { consistency }) {
      demand(actor, 'usage:read')
      await settled(cluster, consistency)
      return pricesView(cluster.state())
    },
    async putPrices(actor, given) {
      demand(actor, 'quota:admin')
      await cluster.propose({ type: 'prices.put', change: present(given) }, actor)
      return pricesView(cluster.state())
    },
  }
}

type PageBy = <R, T>(
  rows: readonly R[],
  query: Query,
  keyOf: (row: R) => string,
  view: (row: R) => T,
) => Page<T>
type QueueMethods = Pick<
  OrderService,
  'queues' | 'putQueue' | 'deleteQueue' | 'quotas' | 'putQuota' | 'deleteQuota'
>

function queuesAndQuotas({ cluster }: ServiceDeps, now: () => number, pageBy: PageBy): QueueMethods {
  return {
    async queues(actor, query) {
      demand(actor, 'queue:read')
      await settled(cluster, query.consistency)
      const state = cluster.state()
      const names = new Set([defaultQueue, ...state.queues.keys()])
      return pageBy([...names], query, (name) => (name === defaultQueue ? ' ' : name), (name) => queueView(state, name)) // prettier-ignore
    },
    async putQueue(actor, given, input, ifVersion) {
      demand(actor, 'queue:admin')
      const name = checked(Name, given, 'queue')
      const { max_runtime, default_runtime, ...rest } = input
      const change = { ...rest, max_runtime_seconds: max_runtime, default_runtime_seconds: default_runtime }
      await cluster.propose(
        { type: 'queue.put', name, change: present(change), ...versioned(ifVersion) },
        actor,
      )
      return queueView(cluster.state(), name)
    },
    async deleteQueue(actor, name) {
      demand(actor, 'queue:admin')
      await cluster.propose({ type: 'queue.delete', name }, actor)
    },
    async quotas(actor, query) {
      demand(actor, 'quota:read')
      await settled(cluster, query.consistency)
      const state = cluster.state()
      const view = ([subject, row]: [string, QuotaRow]) => quotaView(state, subject, row, now())
      const rows = [...state.quotas].filter(([subject]) => concerns(actor, subject))
      return pageBy(rows, query, ([subject]) => subject, view)
    },
    async putQuota(actor, given, { limits = {}, ...rest }, ifVersion) {
      demand(actor, 'quota:admin')
      const subject = checked(Subject, given, 'subject')
      const change = present({ ...rest, limits: present(limits) })
      await cluster.propose({ type: 'quota.put', subject, change, ...versioned(ifVersion) }, actor)
      const row = cluster.state().quotas.get(subject)
      if (!row) throw new ProblemError('not_found', `the quota of ${subject} was set, and taken away since`)
      return quotaView(cluster.state(), subject, row, now())
    },
    async deleteQuota(actor, subject) {
      demand(actor, 'quota:admin')
      await cluster.propose({ type: 'quota.delete', subject }, actor)
    },
  }
}

/** Everybody's, and their own. */
const concerns = (actor: Actor, subject: string): boolean =>
  actor.kind !== 'user' || levelOf(actor, ofSubject(actor, subject)) !== null

function checked<T extends z.ZodType>(type: T, given: string, name: string): z.output<T> {
  const parsed = type.safeParse(given)
  if (parsed.success) return parsed.data
  const message = name === 'subject' ? 'expected cluster, user:NAME, team:NAME, user:* or team:*' : (parsed.error.issues[0]?.message ?? 'expected a name') // prettier-ignore
  throw new ProblemError('invalid_request', undefined, { errors: [{ pointer: `/path/${name}`, message }] })
}

const versioned = (version: number | undefined) => (version === undefined ? {} : { if_version: version })

function queueView(state: State, name: string): Queue {
  const row: Omit<QueueRow, 'resource_version'> = queueOf(state, name)
  const resource_version = state.queues.get(name)?.resource_version ?? 0
  return { ...row, constraints: [...row.constraints], resource_version }
}

const reservationView = (row: Omit<Reservation, 'holders' | 'nodes'> & { readonly holders: readonly string[]; readonly nodes: readonly string[] }): Reservation => ({ ...row, holders: [...row.holders], nodes: [...row.nodes] }) // prettier-ignore

function quotaView(state: State, subject: string, row: QuotaRow, now: number): QuotaUse {
  const many = subject.endsWith(':*')
  const { gpu, cpu, memory, disk, running } = usageOf(state, subject)
  const { gpu_hours, money } = monthUseOf(state, subject, now)
  const use = { gpu, cpu: cpu / 1000, memory, disk, running, gpu_hours_month: gpu_hours, money_month: money }
  const borrowed_gpu = many || subject === 'cluster' ? 0 : Math.max(0, gpu - row.guaranteed_gpu)
  return { subject, ...row, use: many ? null : use, borrowed_gpu }
}

function pricesView(state: State): Prices {
  const { currency, gpu, gpu_models, cpu, memory_gib } = state.prices.get(thePrices) ?? free
  return { currency, gpu, gpu_models, cpu, memory_gib }
}
