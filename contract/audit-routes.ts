import { z } from 'zod'
import { AuditQuery, AuditRecord } from './audit.ts'
import { page, pageOf, type Route } from './route.ts'

export const auditRoutes = {
  'audit.list': { method: 'GET', path: '/audit', summary: 'Who did what to which object, newest first; a page may hold less than was asked for, or nothing, and yet have a next one', access: 'audit:read', query: z.object({ ...AuditQuery.shape, ...page }), status: 200, reply: pageOf(AuditRecord), problems: [] },
  'audit.export': { method: 'GET', path: '/audit.jsonl', summary: 'The audit log, oldest first, one JSON record a line: its chain can be checked with `submarine audit verify`', access: 'audit:read', query: z.object({ after: z.coerce.number().int().min(0).default(0).describe('Only records after this one.') }), status: 200, stream: 'bytes', problems: [] },
} as const satisfies Record<string, Route> // prettier-ignore
