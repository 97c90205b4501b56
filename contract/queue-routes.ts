import { z } from 'zod'
import { Prices, PricesInput, QueueInput, QuotaInput, QuotaUse, ReservationInput, UsageQuery, UsageReport } from './order.ts' // prettier-ignore
import { consistency, page, pageOf, type Route } from './route.ts'
import { Queue, Reservation } from './scheduling.ts'

const list = z.object({ ...page, ...consistency })

export const queueRoutes = {
  'queues.list': { method: 'GET', path: '/queues', summary: 'Queues, the default one first', access: 'queue:read', query: list, status: 200, reply: pageOf(Queue), problems: [] },
  'queues.put': { method: 'PUT', path: '/queues/{queue}', summary: 'Make a queue, or change what is given of one; with If-Match only as the caller saw it', access: 'queue:admin', body: QueueInput, status: 200, reply: Queue, problems: ['precondition_failed', 'outcome_unknown'] },
  'queues.delete': { method: 'DELETE', path: '/queues/{queue}', summary: 'Delete a queue in which nothing waits or runs; the default one is set back', access: 'queue:admin', status: 204, problems: ['not_found', 'conflict', 'outcome_unknown'] },

  'quotas.list': { method: 'GET', path: '/quotas', summary: 'Quotas with what is used of them', access: 'quota:read', query: list, status: 200, reply: pageOf(QuotaUse), problems: [] },
  'quotas.put': { method: 'PUT', path: '/quotas/{subject}', summary: 'Set a quota: cluster, user:NAME, team:NAME, user:*, team:*', access: 'quota:admin', body: QuotaInput, status: 200, reply: QuotaUse, problems: ['precondition_failed', 'outcome_unknown'] },
  'quotas.delete': { method: 'DELETE', path: '/quotas/{subject}', summary: 'Take a quota away', access: 'quota:admin', status: 204, problems: ['not_found', 'outcome_unknown'] },

  'reservations.list': { method: 'GET', path: '/reservations', summary: 'Reservations, the earliest first; past ones are kept for 30 days', access: 'queue:read', query: list, status: 200, reply: pageOf(Reservation), problems: [] },
  'reservations.create': { method: 'POST', path: '/reservations', summary: 'Reserve nodes, or GPUs of them, for users or teams for a time', access: 'queue:admin', body: ReservationInput, status: 201, reply: Reservation, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'reservations.delete': { method: 'DELETE', path: '/reservations/{reservation}', summary: 'Take a reservation back, by id or name', access: 'queue:admin', status: 204, problems: ['not_found', 'conflict', 'outcome_unknown'] },

  'prices.get': { method: 'GET', path: '/prices', summary: 'What an hour of each thing costs', access: 'usage:read', query: z.object(consistency), status: 200, reply: Prices, problems: [] },
  'prices.put': { method: 'PUT', path: '/prices', summary: 'Set prices; what is left out stays as it is', access: 'quota:admin', body: PricesInput, status: 200, reply: Prices, problems: ['outcome_unknown'] },
  'usage.get': { method: 'GET', path: '/usage', summary: 'What was used, by whom, what came of it and what it cost', access: 'usage:read', query: UsageQuery, status: 200, reply: UsageReport, problems: [] },
  'usage.csv': { method: 'GET', path: '/usage.csv', summary: 'The same as CSV', access: 'usage:read', query: UsageQuery, status: 200, stream: 'bytes', problems: [] },
} as const satisfies Record<string, Route> // prettier-ignore
