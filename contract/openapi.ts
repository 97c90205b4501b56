import { z } from 'zod'
import { Problem, type ProblemCode, problems } from './problem.ts'
import type { Route } from './route.ts'
import { type RouteId, routes } from './routes.ts'

type Json = Record<string, unknown>

const common: readonly ProblemCode[] = [
  'invalid_request',
  'unauthenticated',
  'forbidden',
  'internal',
  'no_leader',
]

/** The OpenAPI 3.1 document, made from the schemas that validate the requests. */
export function openApi(version: string): Json {
  const components: Json = {}
  const paths: Record<string, Json> = {}
  for (const id of Object.keys(routes) as RouteId[]) {
    const route: Route = routes[id]
    const path = `/api/v2${route.path.replace('*}', '}')}`
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(id, route, components) }
  }
  schemaOf(Problem, 'output', components)
  return {
    openapi: '3.1.0',
    info: {
      title: 'submarine-docker-cluster',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, { cookie: [] }],
    paths,
    components: {
      schemas: components,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        cookie: { type: 'apiKey', in: 'cookie', name: 'submarine_session' },
      },
    },
  }
}

function operation(id: RouteId, route: Route, components: Json): Json {
  return {
    operationId: id,
    summary: route.summary,
    tags: [id.split('.')[0]],
    ...(route.access === 'public' ? { security: [] } : {}),
    parameters: parameters(route),
    ...requestBody(route, components),
    responses: { [route.status]: success(route, components), ...failures(route) },
  }
}

function parameters(route: Route): Json[] {
  const inPath = [...route.path.matchAll(/\{(\w+)\*?\}/g)].map(([, name]) => ({
    name, in: 'path', required: true, schema: { type: 'string' },
  })) // prettier-ignore
  const query = route.query
    ? (z.toJSONSchema(route.query, { io: 'input', unrepresentable: 'any' }) as {
        properties?: Json
        required?: string[]
      })
    : {}
  const inQuery = Object.entries(query.properties ?? {}).map(([name, schema]) => ({
    name, in: 'query', required: query.required?.includes(name) ?? false, schema,
  })) // prettier-ignore
  const key = {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    schema: { type: 'string', maxLength: 200 },
  }
  const ifMatch = {
    name: 'If-Match',
    in: 'header',
    required: false,
    schema: { type: 'string' },
    description: 'The ETag of the object as the caller saw it; the request is refused if it has changed.',
  }
  const isConditional = route.problems.includes('precondition_failed')
  return [...inPath, ...inQuery, ...(route.idempotent ? [key] : []), ...(isConditional ? [ifMatch] : [])]
}

function requestBody(route: Route, components: Json): Json {
  if (route.upload)
    return {
      requestBody: {
        required: true,
        content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
      },
    }
  if (!route.body) return {}
  const schema = schemaOf(route.body, 'input', components)
  const types = ['application/json', ...(route.method === 'PATCH' ? ['application/merge-patch+json'] : [])]
  return {
    requestBody: { required: true, content: Object.fromEntries(types.map((type) => [type, { schema }])) },
  }
}

/** What answers from an agent's own copy (`consistency=local`) say of it. */
const localHeaders: Json = {
  'Submarine-Consistency': { description: '`local`: this agent’s own copy, which may be old.', schema: { const: 'local' } },
  'Submarine-Applied-Index': { description: 'The version of that copy.', schema: { type: 'integer' } },
  'Submarine-Age': {
    description: 'Seconds since that copy was known to be as new as the leader’s; `unknown`: never since this agent started.',
    schema: { oneOf: [{ type: 'integer' }, { const: 'unknown' }] },
  },
} // prettier-ignore

function success(route: Route, components: Json): Json {
  const headers = route.query && 'consistency' in route.query.shape ? { headers: localHeaders } : {}
  const description = route.summary
  if (route.stream === 'bytes')
    return {
      description,
      content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
    }
  if (!route.reply) return { description }
  const type = route.stream === 'events' ? 'text/event-stream' : 'application/json'
  return {
    description,
    ...headers,
    content: { [type]: { schema: schemaOf(route.reply, 'output', components) } },
  }
}

function failures(route: Route): Json {
  const byStatus = new Map<number, ProblemCode[]>()
  for (const code of new Set([...common, ...route.problems])) {
    const status = problems[code][0]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: codes.join(', '),
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    ]),
  )
}

/** JSON Schema of a zod type, its named parts collected under components. */
function schemaOf(type: z.ZodType, io: 'input' | 'output', components: Json): Json {
  const {
    $defs,
    $schema: _schema,
    ...schema
  } = z.toJSONSchema(type, { io, unrepresentable: 'any', reused: 'inline' }) as Json & { $defs?: Json }
  const rewrite = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(rewrite)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => key !== 'id' || typeof (value as Json).id !== 'string')
        .map(([key, inner]) => [
          key,
          key === '$ref' && typeof inner === 'string'
            ? inner.replace('#/$defs/', '#/components/schemas/')
            : rewrite(inner),
        ]),
    )
  }
  for (const [name, definition] of Object.entries($defs ?? {})) components[name] ??= rewrite(definition)
  const id = schema.id
  if (typeof id !== 'string') return rewrite(schema) as Json
  components[id] ??= rewrite(schema)
  return { $ref: `#/components/schemas/${id}` }
}
