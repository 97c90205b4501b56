import { z } from 'zod'
import { Sharing } from './people.ts'
import { consistency, page, pageOf, type Route } from './route.ts'
import { Secret, SecretInput } from './secrets.ts'

export const secretRoutes = {
  'secrets.list': { method: 'GET', path: '/secrets', summary: 'Secrets that one may know of, by owner and name; never what they are', access: 'secret:read', query: z.object({ ...page, ...consistency }), status: 200, reply: pageOf(Secret), problems: [] },
  'secrets.get': { method: 'GET', path: '/secrets/{secret}', summary: 'What is known of one secret, by NAME or OWNER/NAME', access: 'secret:read', query: z.object(consistency), status: 200, reply: Secret, problems: ['not_found'] },
  'secrets.put': { method: 'PUT', path: '/secrets/{secret}', summary: 'Keep a secret, or replace it; it is never answered again', access: 'secret:create', body: SecretInput, status: 200, reply: Secret, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'secrets.delete': { method: 'DELETE', path: '/secrets/{secret}', summary: 'Delete a secret; tasks that have it keep it until they end', access: 'secret:edit', status: 204, problems: ['not_found', 'outcome_unknown'] },
  'secrets.share': { method: 'PUT', path: '/secrets/{secret}/sharing', summary: 'Who besides its owner may use a secret (run), or replace it (admin)', access: 'secret:edit', body: Sharing, status: 200, reply: Secret, problems: ['not_found', 'outcome_unknown'] },
} as const satisfies Record<string, Route> // prettier-ignore
