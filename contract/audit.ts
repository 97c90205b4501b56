import { z } from 'zod'
import { line, Sha256, Time } from './text.ts'

const decisions = ['allowed', 'refused'] as const

/** Who did what to which object, from where, and whether it was allowed. Each record carries the digest of the one before. */
export const AuditRecord = z
  .object({
    seq: z.int().min(1),
    at: Time,
    index: z.int().describe('Entry of the log that it stands for: events of the same entry begin with it.'),
    actor: z.string().describe('user:NAME, task:ID, node:ID, anonymous or system.'),
    token: z.string().nullable().describe('Id of the token that the call came with.'),
    address: z.string().nullable().describe('Where the call came from.'),
    request: z.string().nullable().describe('Id of the request, as the agent’s log and answers have it.'),
    action: z.string(),
    object: z.object({ kind: z.string(), id: z.string().nullable() }),
    decision: z.enum(decisions),
    code: z.string().nullable().describe('Why it was refused.'),
    message: z.string().nullable(),
    before: Sha256.nullable().describe('Digest of the object as it was; null when there was none.'),
    after: Sha256.nullable().describe('Digest of the object as it became; null when there is none any more.'),
    count: z.int().min(1).describe('So many alike, counted as one.'),
    previous: Sha256.describe('Digest of the record before; zeros for the first.'),
    sha256: Sha256.describe('Digest of all the other fields.'),
  })
  .meta({ id: 'AuditRecord' })
export type AuditRecord = z.infer<typeof AuditRecord>

/** What stands before the first record. */
export const auditOrigin = '0'.repeat(64)

/** What a record's digest is made of: its fields in this order, as JSON. */
export function auditText(record: Omit<AuditRecord, 'sha256'>): string {
  const { seq, at, index, actor, token, address, request, action, object } = record
  const { decision, code, message, before, after, count, previous } = record
  return JSON.stringify([
    seq, at, index, actor, token, address, request, action, object.kind, object.id,
    decision, code, message, before, after, count, previous,
  ]) // prettier-ignore
}

/** What is wrong with a record that should follow another; undefined: nothing. `sha256` makes a digest in hex. */
export function chainFault(
  record: AuditRecord,
  before: Pick<AuditRecord, 'seq' | 'sha256'> | undefined,
  sha256: (text: string) => string,
): string | undefined {
  if (before && record.seq !== before.seq + 1) return `record ${before.seq + 1} is missing`
  if (before && record.previous !== before.sha256)
    return `record ${record.seq} does not follow record ${before.seq}: one of them was altered`
  if (!before && record.seq === 1 && record.previous !== auditOrigin)
    return 'record 1 says that there was one before it'
  if (sha256(auditText(record)) !== record.sha256) return `record ${record.seq} was altered`
  return undefined
}

/** Which records; one that is left out does not matter. */
export const AuditQuery = z.object({
  actor: line(200).optional().describe('Such as user:ana; a name alone is a user’s.'),
  action: line(100).optional().describe('Such as experiment.delete, or experiment. for all of that kind.'),
  object: line(300).optional().describe('KIND/ID, or a kind alone.'),
  decision: z.enum(decisions).optional(),
  from: Time.optional(),
  to: Time.optional(),
})
export type AuditQuery = z.output<typeof AuditQuery>
