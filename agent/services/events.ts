import { z } from 'zod'
import type { Actor, Event } from '../../contract/index.ts'
import type { EventQuery } from '../cluster/cluster.ts'
import { demand, experimentFor } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, type PageQuery, readToken, writeToken } from './paging.ts'

type Query = PageQuery & { consistency: Consistency }

export interface EventService {
  list(actor: Actor, query: Query): Promise<Page<Event>>
  ofExperiment(actor: Actor, ref: string, query: Query): Promise<Page<Event>>
}

const Position = z.strictObject({ version: z.int().min(0), after: z.string().max(100) })

export function createEvents({ cluster }: ServiceDeps): EventService {
  async function page(query: Query, of: Pick<EventQuery, 'subject' | 'order'>): Promise<Page<Event>> {
    const position = readToken(Position, query.page_token)
    const version = position?.version ?? cluster.status().applied
    const { items, next } = await cluster.events({
      ...of,
      limit: query.page_size,
      ...(position ? { after: position.after } : {}),
    })
    const next_page_token = next === null ? null : writeToken({ version, after: next })
    return { items, next_page_token, resource_version: version }
  }
  return {
    async list(actor, query) {
      demand(actor, 'event:read')
      await settled(cluster, query.consistency)
      return page(query, { order: 'newest' })
    },
    async ofExperiment(actor, ref, query) {
      await settled(cluster, query.consistency)
      const row = await experimentFor(cluster, actor, 'event:read', ref, query.consistency)
      return page(query, { order: 'oldest', subject: { kind: 'experiment', id: row.id } })
    },
  }
}
