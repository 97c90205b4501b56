import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { type Actor, fieldErrors, line, ProblemError, type Route, type RouteId, routes } from '../../contract/index.ts' // prettier-ignore
import { withOrigin } from '../cluster/audit/origin.ts'
import type { Services } from '../services/index.ts'
import { type EventReply, sendEvents } from './events.ts'
import { type FileReply, sendFile } from './files.ts'
import { type Call, createHandlers } from './handlers.ts'
import { idempotencyKey } from './headers.ts'
import { type Credential, credentialOf } from './session.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers go on until somebody leaves. */
    isStream?: boolean
    /** Its entry in the contract's table. */
    route?: Route
  }
  interface FastifyRequest {
    /** Who asks, once that is known. */
    actor: Actor | null
  }
}

export interface MountOptions {
  readonly heartbeatMs: number
}

/** One Fastify route for every entry of the contract's table; nothing is mounted by hand. */
export async function mount(app: FastifyInstance, services: Services, options: MountOptions): Promise<void> {
  const entries = Object.entries<Route>(routes)
  mountAll(app, entries.filter(([, route]) => !route.upload), services, options) // prettier-ignore
  await app.register(async (uploads) => {
    // A file is a stream of whatever type; nobody parses it.
    uploads.removeAllContentTypeParsers()
    uploads.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    mountAll(uploads, entries.filter(([, route]) => route.upload), services, options) // prettier-ignore
  })
}

function mountAll(
  app: FastifyInstance,
  entries: readonly (readonly [string, Route])[],
  services: Services,
  options: MountOptions,
): void {
  const handlers = createHandlers(services)
  for (const [id, route] of entries) {
    const handle = handlers[id as RouteId] as (call: Call<RouteId>) => unknown
    const read = readerOf(id as RouteId, route)
    app.route({
      method: route.method,
      url: route.path.replaceAll(/\{(\w+)\}/g, ':$1').replace(/\{\w+\*\}$/, '*'),
      config: { isStream: route.stream === 'events', route },
      exposeHeadRoute: route.method === 'GET' && route.stream !== 'events',
      handler: async (request, reply) => {
        // Read before anything is awaited: a closed HTTP/2 session has no socket to ask.
        const { encrypted = false } = request.raw.socket as { encrypted?: boolean }
        const { actor, credential } = await whoAsks(services, route, request)
        const abort = new AbortController()
        reply.raw.once('close', () => abort.abort())
        if (reply.raw.destroyed) abort.abort()
        const input = read(request)
        reply.status(route.status)
        markLocal(services, reply, input.query)
        request.actor = actor
        const call = { ...input, actor, credential, encrypted, signal: abort.signal, request, reply }
        const origin = { address: request.ip, request: request.id }
        const answer = await withOrigin(origin, () => handle(call as unknown as Call<RouteId>))
        if (route.stream === 'bytes') return sendFile(request, reply, answer as FileReply)
        if (route.stream !== 'events') return sendObject(request, reply, answer)
        const stillAllowed = () => !credential || services.people.stillThere(credential.token) !== undefined
        return sendEvents(request, reply, answer as EventReply, { ...options, stillAllowed, abort })
      },
    })
  }
}

/** Doors before sign-in look at no credential, so a stale cookie does not close them. */
async function whoAsks(
  { people }: Services,
  { access }: Route,
  request: FastifyRequest,
): Promise<{ actor: Actor; credential: Credential | undefined }> {
  const isOpen = access === 'public' || access === 'join token'
  const credential = isOpen ? undefined : credentialOf(request)
  if (credential) return { actor: await people.actorOf(credential.token), credential }
  if (!isOpen) throw new ProblemError('unauthenticated')
  return { actor: { kind: 'anonymous' }, credential: undefined }
}

interface Input {
  readonly params: Record<string, unknown>
  readonly query: Record<string, unknown>
  readonly body: unknown
  readonly idempotencyKey: string | undefined
}

/** Reads parameters, query and body by the route's schemas; the service reads a spec itself. */
function readerOf(id: RouteId, route: Route): (request: FastifyRequest) => Input {
  const names = [...route.path.matchAll(/\{(\w+)(\*?)\}/g)].map(([, name = '', rest]) => ({ name, rest }))
  const params = z.object(
    Object.fromEntries(names.map(({ name, rest }) => [name, line(rest ? 4096 : 200).min(1)])),
  )
  // A misspelt parameter would be an answer to another question, but where others than our clients write them.
  const query = route.query?.def.catchall ? route.query : z.strictObject(route.query?.shape ?? {})
  const body = id === 'experiments.create' ? z.unknown() : (route.body ?? z.unknown())
  return (request) => {
    const given = request.params as Record<string, string>
    const byName = Object.fromEntries(names.map(({ name, rest }) => [name, given[rest || name]]))
    return {
      params: parse(params, byName, ['path']),
      query: parse(query, request.query, ['query']),
      body: parse(body, request.body, []),
      idempotencyKey: route.idempotent ? idempotencyKey(request) : undefined,
    }
  }
}

function parse<T extends z.ZodType>(schema: T, value: unknown, prefix: readonly string[]): z.output<T> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new ProblemError('invalid_request', undefined, { errors: fieldErrors(parsed.error, prefix, schema) })
}

/** An answer from this agent's own copy says so, and how new it is. */
function markLocal({ cluster }: Services, reply: FastifyReply, query: Record<string, unknown>): void {
  if (query.consistency !== 'local') return
  reply
    .header('submarine-consistency', 'local')
    .header('submarine-applied-index', cluster.appliedIndex())
    .header('submarine-age', cluster.copyAge() ?? 'unknown')
}

/** A single object carries its version as its ETag. */
function sendObject(request: FastifyRequest, reply: FastifyReply, answer: unknown): unknown {
  if (answer === undefined) return reply.send()
  const object = answer as { resource_version?: unknown; items?: unknown }
  if (typeof object.resource_version === 'number' && object.items === undefined) {
    const etag = `"${object.resource_version}"`
    reply.header('etag', etag)
    if (request.method === 'GET' && request.headers['if-none-match'] === etag) return reply.status(304).send()
  }
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer))
}
