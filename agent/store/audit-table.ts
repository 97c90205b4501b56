import type { AuditRecord } from '../../contract/index.ts'
import { actorOf, type AuditRead, nameOf } from '../cluster/audit/read.ts'

/** Keys of the audit log in the state database: records by number, and their numbers by actor and by object. */
const numbered = (seq: number) => String(seq).padStart(14, '0')
/** No name may end in what begins another one's numbers. */
const safe = (name: string) => name.replaceAll('%', '%25').replaceAll('!', '%21')
const byActor = (actor: string) => `b!${safe(actor)}!`
const byObject = (object: string) => `b!${safe(object)}!`

export const auditKey = (seq: number): string => `a!${numbered(seq)}`

/** Keys under which a record is found again. */
export function auditIndexKeys(record: AuditRecord): string[] {
  return [byActor(record.actor) + numbered(record.seq), byObject(nameOf(record)) + numbered(record.seq)]
}

/** The index that holds the fewest records among which those asked for are; undefined: only all of them do. */
export function auditIndexOf({ actor, object }: AuditRead): string | undefined {
  if (object?.includes('/')) return byObject(object)
  return actor === undefined ? undefined : byActor(actorOf(actor))
}

/** The number in a key of an index. */
export const seqOf = (key: string): number => Number(key.slice(-14))
export { numbered }
