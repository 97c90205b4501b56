import { z } from 'zod'
import type { Route } from './route.ts'
import { Time } from './text.ts'

export const MonitorToken = z
  .object({ token: z.string().describe('Bearer token for GET /metrics of every agent.'), expires_at: Time })
  .meta({ id: 'MonitorToken' })
export type MonitorToken = z.infer<typeof MonitorToken>

export const monitoringRoutes = {
  'monitorTokens.create': { method: 'POST', path: '/monitor-tokens', summary: 'A token that reads the metrics of every agent and nothing else, for Prometheus', access: 'cluster:admin', query: z.object({ days: z.coerce.number().int().min(1).max(3650).default(365).describe('How long it is good.') }), status: 201, reply: MonitorToken, problems: ['outcome_unknown'] },
  'monitorTokens.revoke': { method: 'DELETE', path: '/monitor-tokens', summary: 'Take back every such token', access: 'cluster:admin', status: 204, problems: ['outcome_unknown'] },
} as const satisfies Record<string, Route> // prettier-ignore
