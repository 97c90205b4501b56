import { z } from 'zod'
import type { Actor, Event } from '../../contract/index.ts'
import type { EventQuery } from '../cluster/cluster.ts'
import { demandOfOwn, experimentFor } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, type PageQuery, readToken, writeToken } from './paging.ts'
import { mayReadEvent } from './seen.ts'

type Query = PageQuery & { consistency: Consistency }

export interface EventService {
  list(actor: Actor, query: Query): Promise<Page<Event>>
  ofExperiment(actor: Actor, ref: string, query: Query): Promise<Page<Event>>
}

const mostLooks = 50
const Position = z.strictObject({ version: z.int().min(0), after: z.string().max(100) })

export function createEvents({ cluster }: ServiceDeps): EventService {
  /**
   * What they may see of so many looks at the log: where they see little, a page is short, and is gone on with all the
   * same.
   */
  async function seenBy(actor: Actor, query: Query): Promise<Page<Event>> {
    const items: Event[] = []
    let found: Page<Event> | undefined
    for (let look = 0; look < mostLooks && items.length < query.page_size; look++) {
      const page_token: string | null | undefined = found ? found.next_page_token : query.page_token
      if (page_token === null) break
      const page_size = query.page_size - items.length
      found = await page({ ...query, page_size, page_token }, { order: 'newest' })
      const state = cluster.state()
      items.push(...found.items.filter((event) => mayReadEvent(actor, state, event)))
    }
    return { ...(found ?? (await page(query, { order: 'newest' }))), items }
  }
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
      demandOfOwn(actor, 'event:read')
      await settled(cluster, query.consistency)
      return seenBy(actor, query)
    },
    async ofExperiment(actor, ref, query) {
      await settled(cluster, query.consistency)
      const row = await experimentFor(cluster, actor, 'event:read', ref, query.consistency)
      return page(query, { order: 'oldest', subject: { kind: 'experiment', id: row.id } })
    },
  }
}
