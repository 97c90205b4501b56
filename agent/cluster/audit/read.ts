import type { AuditQuery, AuditRecord } from '../../../contract/index.ts'

/** Which records, and how many at most. */
export interface AuditRead extends AuditQuery {
  /** Only records before this one. */
  readonly before?: number
  readonly limit: number
}

export interface AuditPage {
  readonly items: AuditRecord[]
  /** Go on before this record; null when there is nothing more. */
  readonly next: number | null
}

/** A page never looks at more records than this, however few of them it finds. */
export const mostScanned = 20_000

/** The records among `source`, newest first, that are asked for. */
export async function pageFrom(
  source: AsyncIterable<AuditRecord> | Iterable<AuditRecord>,
  read: AuditRead,
): Promise<AuditPage> {
  const items: AuditRecord[] = []
  let scanned = 0
  let last: number | undefined
  for await (const record of source) {
    if (last !== undefined && (items.length === read.limit || scanned >= mostScanned))
      return { items, next: last }
    scanned++
    last = record.seq
    if (matches(record, read)) items.push(record)
  }
  return { items, next: null }
}

export function matches(
  record: AuditRecord,
  { actor, action, object, decision, from, to }: AuditQuery,
): boolean {
  if (actor !== undefined && record.actor !== actorOf(actor)) return false
  if (
    action !== undefined &&
    (action.endsWith('.') ? !record.action.startsWith(action) : record.action !== action)
  )
    return false
  if (object !== undefined && object !== record.object.kind && object !== nameOf(record)) return false
  if (decision !== undefined && record.decision !== decision) return false
  const at = Date.parse(record.at)
  return (from === undefined || Date.parse(from) <= at) && (to === undefined || at <= Date.parse(to))
}

/** A name alone is a user's. */
export const actorOf = (actor: string): string =>
  actor.includes(':') || actor === 'anonymous' || actor === 'system' ? actor : `user:${actor}`

export const nameOf = ({ object: { kind, id } }: Pick<AuditRecord, 'object'>): string => `${kind}/${id ?? ''}`
