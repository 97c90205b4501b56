import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { hostname } from 'node:os'
import {
  fastify,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
} from 'fastify'
import type { Logger } from 'pino'
import type { Answered } from '../monitoring/monitor.ts'
import type { Services } from '../services/index.ts'
import { securityHeaders } from '../../contract/csp.ts'
import { checkAddress } from './address.ts'
import { guard } from './guard.ts'
import { meterRequests, serveMetrics } from './metrics.ts'
import { mount } from './mount.ts'
import { tellRefusal } from './audit.ts'
import { sendProblem, toProblem } from './problems.ts'
import { serveConsole } from './static.ts'

export interface HttpDeps {
  readonly services: Services
  readonly log: Logger
  /** HOST:PORT under which people reach this agent, beside the nodes' addresses: advertised, bound. */
  readonly hosts: readonly string[]
  /** Folder of the built console; a page says how to build it while there is none. */
  readonly consoleFolder: string
  /** Served at /demo.json. */
  readonly demoFile?: string | undefined
  readonly heartbeatMs?: number
  /** Told of each request that was answered. */
  readonly answered?: (request: Answered) => void
}

/** HTTP/1.1 and HTTP/2 requests both come here, from whatever listener. */
export type HttpHandler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void

export interface Http {
  readonly handler: HttpHandler
  /** Open streams end when their listeners close; close those too. */
  close(): Promise<void>
}

const mostJson = 4 * 1024 * 1024

/** The API and the console behind one request handler: TLS and plain loopback listeners are somebody else's. */
export async function createHttp(deps: HttpDeps): Promise<Http> {
  let handler: HttpHandler | undefined
  const log: FastifyBaseLogger = deps.log
  const app = fastify({
    serverFactory: (handle) => {
      handler = (request, response) =>
        handle(request as IncomingMessage, response as ServerResponse<IncomingMessage>)
      return createServer()
    },
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: mostJson,
    genReqId: () => randomBytes(8).toString('hex'),
    routerOptions: { maxParamLength: 5000 },
    exposeHeadRoutes: false,
    // The listeners stop taking requests; what came before is answered.
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => sendProblem(error, request, reply),
  })
  readBodies(app)
  addHooks(app, deps)
  if (deps.answered) meterRequests(app, deps.answered)
  await app.register(async (api) => mount(api, deps.services, { heartbeatMs: deps.heartbeatMs ?? 15_000 }), {
    prefix: '/api/v2',
  })
  serveMetrics(app, deps.services)
  await serveConsole(app, deps)
  await app.ready()
  if (!handler) throw new Error('the server made no handler')
  return { handler, close: () => app.close() }
}

function addHooks(app: FastifyInstance, deps: HttpDeps): void {
  const names = new Set([hostname().toLowerCase(), `${hostname().toLowerCase()}.local`])
  const hosts = () => [...deps.hosts, ...deps.services.cluster.addresses()]
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ ...securityHeaders, 'x-request-id': request.id })
    guard(request, { hosts, names })
    checkAddress(request.url)
    if (!request.url.startsWith('/api/')) return
    reply.header('cache-control', 'no-store')
    const ca = deps.services.cluster.replacedCa()
    if (ca !== undefined) reply.header('submarine-ca', ca)
  })
  app.addHook('onResponse', async (request, reply) => {
    const { method, url } = request
    request.log.debug(
      { method, url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
      'answered',
    )
  })
  app.decorateRequest('actor', null)
  app.setErrorHandler(async (error, request, reply) => {
    tellRefusal(deps.services, toProblem(error), request)
    await drained(request)
    void reply.removeHeader('connection')
    sendProblem(error, request, reply)
    return reply
  })
}

const mostDrained = 32 * 1024 * 1024
const drainMs = 2000

/**
 * Take what is still on its way before refusing it, within bounds: a connection closed while its client writes
 * shows the client a broken pipe instead of the reason.
 */
async function drained({ raw }: FastifyRequest): Promise<void> {
  if (raw.complete || raw.destroyed) return
  await new Promise<void>((resolve) => {
    let size = 0
    const end = () => {
      clearTimeout(timer)
      raw.off('data', count)
      raw.off('end', end)
      raw.off('close', end)
      resolve()
    }
    const count = (chunk: Buffer) => {
      size += chunk.length
      if (size > mostDrained) end()
    }
    const timer = setTimeout(end, drainMs)
    raw.unpipe()
    raw.on('data', count).on('end', end).on('close', end).resume()
  })
}

/** JSON (a merge patch is JSON too) and nothing else; uploads, which are streams, are mounted apart. */
function readBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser(
    ['application/json', 'application/merge-patch+json'],
    { parseAs: 'string' },
    (request, body, done) => {
      // Many clients name a content type on requests without a body.
      if (body === '') done(null, undefined)
      else void parse(request, body as string, done)
    },
  )
}
