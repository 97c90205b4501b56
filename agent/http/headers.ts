import type { FastifyRequest } from 'fastify'
import { ProblemError } from '../../contract/index.ts'

/** The version an If-Match header asks for; undefined for none and for `*`. */
export function ifMatch({ headers }: FastifyRequest): number | undefined {
  const header = headers['if-match']
  if (header === undefined || header === '*') return undefined
  const match = /^"(\d{1,15})"$/.exec(header)
  if (match) return Number(match[1])
  throw wrong('if-match', 'expected one ETag, as an answer gave it')
}

export function idempotencyKey({ headers }: FastifyRequest): string | undefined {
  const header = headers['idempotency-key']
  if (header === undefined) return undefined
  if (typeof header === 'string' && /^[\x21-\x7e]{1,200}$/.test(header)) return header
  throw wrong('idempotency-key', 'expected 1 to 200 printable ASCII characters without spaces')
}

/** NaN when read as a number, undefined as a text: a client that never got an id sends none. */
export function lastEventId({ headers }: FastifyRequest): string | undefined {
  const header = headers['last-event-id']
  return typeof header === 'string' && header !== '' ? header : undefined
}

const wrong = (name: string, message: string) =>
  new ProblemError('invalid_request', undefined, { errors: [{ pointer: `/header/${name}`, message }] })
