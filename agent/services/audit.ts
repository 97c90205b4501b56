import { z } from 'zod'
import {
  type Actor,
  actorName,
  type AuditQuery,
  type AuditRecord,
  type ProblemCode,
} from '../../contract/index.ts'
import { currentOrigin } from '../cluster/audit/origin.ts'
import { demand } from './access.ts'
import { type ServiceDeps, settled } from './context.ts'
import { type Page, type PageQuery, readToken, writeToken } from './paging.ts'
import { noteOf, type RefusedCall, Refusals } from './refusals.ts'

export interface AuditService {
  list(actor: Actor, query: AuditQuery & PageQuery): Promise<Page<AuditRecord>>
  /** The records after one, oldest first. */
  export(actor: Actor, after: number): Promise<AsyncIterable<AuditRecord>>
  /** Something was done that changes nothing in the log: a file was read, a command was run in a task. It counts when resolved. */
  note(actor: Actor, what: { action: string; object: AuditRecord['object']; message: string }): Promise<void>
  /** A call was refused, whoever asked. */
  refused(call: RefusedCall): void
  close(): void
}

const Position = z.strictObject({ version: z.int().min(0), before: z.int().min(0) })

/** Refusals that say something about who asked; all others are about what was asked. */
const telling: ReadonlySet<ProblemCode> = new Set<ProblemCode>([
  'forbidden',
  'unauthenticated',
  'bad_credentials',
  'rate_limited',
  'foreign_origin',
  'foreign_host',
])

export function createAudit({ cluster, strangers, now = Date.now }: ServiceDeps): AuditService {
  const self: Actor = { kind: 'node', node: cluster.self.node }
  const refusals = new Refusals((notes) => cluster.propose({ type: 'audit.note', notes }, self), now)
  const at = () => new Date(now()).toISOString()
  const note: AuditService['note'] = async (actor, { action, object, message }) => {
    const { address = null, request = null } = currentOrigin() ?? {}
    const token = actor.kind === 'user' ? (actor.token ?? null) : null
    const who = { at: at(), actor: actorName(actor), token, address, request }
    const note = { ...who, action, object, decision: 'allowed' as const, code: null, message, count: 1 }
    await cluster.propose({ type: 'audit.note', notes: [note] }, self)
  }
  return {
    async list(actor, { page_size, page_token, ...query }) {
      demand(actor, 'audit:read')
      await settled(cluster, 'strong')
      const position = readToken(Position, page_token)
      const version = position?.version ?? cluster.status().applied
      const from = position ? { before: position.before } : {}
      const { items, next } = await cluster.audit({ ...query, ...from, limit: page_size })
      const next_page_token = next === null ? null : writeToken({ version, before: next })
      return { items, next_page_token, resource_version: version }
    },
    async export(actor, after) {
      demand(actor, 'audit:read')
      const object = { kind: 'audit', id: null }
      await note(actor, {
        action: 'audit.export',
        object,
        message: `exported the audit log from record ${after + 1}`,
      })
      return cluster.auditAfter(after)
    },
    note,
    refused(call) {
      if (!telling.has(call.problem.code)) return
      const { account } = call
      const known = account !== undefined && cluster.state().users.has(account)
      const note = noteOf({ ...call, account: known ? account : undefined }, at())
      if (call.actor.kind === 'anonymous' && !known) strangers?.(note)
      else refusals.add(note)
    },
    close: () => refusals.close(),
  }
}
