import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { type AuditRecord, type auditRoutes, type ProblemError, SignIn } from '../../contract/index.ts'
import type { Services } from '../services/index.ts'
import type { Handlers } from './handlers.ts'

export function auditHandlers({ audit }: Services): Pick<Handlers, keyof typeof auditRoutes> {
  return {
    'audit.list': ({ actor, query }) => audit.list(actor, query),
    'audit.export': async ({ actor, query }) => {
      const records = await audit.export(actor, query.after)
      return {
        name: 'audit.jsonl',
        type: 'application/jsonl',
        attachment: true,
        open: async () => Readable.from(linesOf(records)),
      }
    },
  }
}

async function* linesOf(records: AsyncIterable<AuditRecord>): AsyncGenerator<string> {
  for await (const record of records) yield JSON.stringify(record) + '\n'
}

/** Every refusal passes here on its way out, whichever door it was at. */
export function tellRefusal({ audit }: Services, problem: ProblemError, request: FastifyRequest): void {
  const { actor, method, ip, id, params, routeOptions } = request
  const { route } = routeOptions.config
  audit.refused({
    actor: actor ?? { kind: 'anonymous' },
    problem,
    access: route?.access,
    method,
    path: route?.path ?? 'another page',
    params: paramsOf(params),
    account: accountIn(request),
    address: ip,
    request: id,
  })
}

/** A password tried on an account is that account's business. */
function accountIn({ body, routeOptions }: FastifyRequest): string | undefined {
  if (routeOptions.config.route?.body !== SignIn) return undefined
  const { user } = (body ?? {}) as { user?: unknown }
  return typeof user === 'string' ? user : undefined
}

function paramsOf(params: unknown): Record<string, string> {
  const given = Object.entries((params ?? {}) as Record<string, unknown>)
  return Object.fromEntries(given.filter((each): each is [string, string] => typeof each[1] === 'string'))
}
