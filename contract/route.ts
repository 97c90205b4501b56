import { z } from 'zod'
import type { Action } from './permission.ts'
import type { ProblemCode } from './problem.ts'

/** Who may call: an action the evaluator decides on, or one of the few doors before sign-in. */
export type Access = Action | 'public' | 'join token'

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Below /api/v2, parameters in braces; `{path*}` takes the rest of the path. */
  readonly path: string
  readonly summary: string
  readonly access: Access
  readonly query?: z.ZodObject
  readonly body?: z.ZodType
  /** `bytes`: the request body is a file, streamed. */
  readonly upload?: 'bytes'
  /** 302: it answers by sending a browser elsewhere. */
  readonly status: 200 | 201 | 204 | 302
  readonly reply?: z.ZodType
  /** Instead of one JSON reply: server-sent events of `reply`, or a file. */
  readonly stream?: 'events' | 'bytes'
  /** Problems besides those every route may answer (`invalid_request`, `unauthenticated`, `forbidden`, `internal`, `no_leader`). */
  readonly problems: readonly ProblemCode[]
  /** POSTs that may be repeated safely with an Idempotency-Key header. */
  readonly idempotent?: boolean
}

/** Query of every list: how many at once, and the page after the last. */
export const page = {
  page_size: z.coerce.number().int().min(1).max(1000).default(100),
  page_token: z.string().max(500).optional(),
}
/** strong: as new as every acknowledged write. local: this agent's own copy, which may be old, and says so. */
export const consistency = { consistency: z.enum(['strong', 'local']).default('strong') }
/** A page of a list. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), next_page_token: z.string().nullable(), resource_version: z.int() })
