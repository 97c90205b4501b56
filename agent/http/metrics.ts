import type { FastifyInstance } from 'fastify'
import { ProblemError } from '../../contract/index.ts'
import type { Answered } from '../monitoring/monitor.ts'
import { contentTypes, expose, formatFor } from '../monitoring/exposition.ts'
import type { Services } from '../services/index.ts'
import { credentialOf } from './session.ts'

/** The metrics under the path at which Prometheus looks, for a bearer token or a signed-in person. */
export function serveMetrics(app: FastifyInstance, { people, monitoring }: Services): void {
  app.get('/metrics', async (request, reply) => {
    const credential = credentialOf(request)
    if (!credential)
      throw new ProblemError('unauthenticated', undefined, {
        hint: 'Prometheus sends a token of `submarine cluster monitor-token` (docs/monitoring.md).',
      })
    const actor = await people.actorOf(credential.token)
    const format = formatFor(request.headers.accept)
    const text = expose(monitoring.metrics(actor), format)
    return reply.header('cache-control', 'no-store').type(contentTypes[format]).send(text)
  })
}

/** Tell of each request once it is answered, under its route: an address has ids in it, which are without end. */
export function meterRequests(app: FastifyInstance, answered: (request: Answered) => void): void {
  app.addHook('onResponse', async (request, reply) => {
    answered({
      method: request.method,
      route: request.routeOptions.url ?? 'other',
      status: reply.statusCode,
      seconds: reply.elapsedTime / 1000,
      isStream: request.routeOptions.config.isStream ?? false,
    })
  })
}
