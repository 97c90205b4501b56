import type { z } from 'zod'
import { Problem, ProblemError } from './problem.ts'
import type { Route } from './route.ts'
import { type RouteId, type Routes, routes } from './routes.ts'

type In<T> = T extends z.ZodType ? z.input<T> : never
type Out<T> = T extends z.ZodType ? z.output<T> : undefined
type ParamNames<P extends string> = P extends `${string}{${infer Name}}${infer Rest}`
  ? (Name extends `${infer Bare}*` ? Bare : Name) | ParamNames<Rest>
  : never

/** What a call takes: path parameters, query and body as the route table types them. */
export type CallInput<K extends RouteId> = ([ParamNames<Routes[K]['path']>] extends [never]
  ? { params?: undefined }
  : { params: Record<ParamNames<Routes[K]['path']>, string> }) &
  (Routes[K] extends { body: infer B } ? { body: In<B> } : { body?: undefined }) &
  (Routes[K] extends { query: infer Q } ? { query?: In<Q> } : { query?: undefined }) & {
    headers?: Record<string, string>
    signal?: AbortSignal
  }

/** What it answers: the JSON reply. */
export type CallOutput<K extends RouteId> = Routes[K] extends { reply: infer R } ? Out<R> : undefined

/** How a client reaches the cluster: `path` begins with `/api/v2`. Throws `ProblemError` code `no_leader` when nobody answers. */
export type Send = (path: string, init: RequestInit) => Promise<Response>

export interface ServerEvent<T> {
  readonly id: string | undefined
  readonly data: T
}

export interface Client {
  /** One request, one JSON reply; problems are thrown as ProblemError. */
  call<K extends RouteId>(id: K, input: CallInput<K>): Promise<CallOutput<K>>
  /** Server-sent events of a `stream: 'events'` route, until the server ends them or `signal` aborts. */
  events<K extends RouteId>(id: K, input: CallInput<K>): AsyncGenerator<ServerEvent<CallOutput<K>>>
  /** The raw response of a `stream: 'bytes'` route, or of an upload. */
  raw<K extends RouteId>(
    id: K,
    input: Omit<CallInput<K>, 'body'>,
    body?: NonNullable<RequestInit['body']>,
  ): Promise<Response>
}

/** A typed client over any `fetch`: the console, the CLI and the desktop app share it. */
export function createClient(send: Send): Client {
  async function raw(
    id: RouteId,
    input: AnyInput,
    body?: NonNullable<RequestInit['body']>,
  ): Promise<Response> {
    const route: Route = routes[id]
    const headers: Record<string, string> = { accept: acceptOf(route), ...input.headers }
    if (body !== undefined) headers['content-type'] ??= 'application/octet-stream'
    else if (input.body !== undefined) headers['content-type'] = 'application/json'
    const response = await send(urlOf(route, input), {
      method: route.method,
      headers,
      ...(body !== undefined
        ? { body, duplex: 'half' }
        : input.body !== undefined
          ? { body: JSON.stringify(input.body) }
          : {}),
      ...(input.signal ? { signal: input.signal } : {}),
    })
    if (!response.ok) throw await problemOf(response)
    return response
  }
  return {
    raw: raw as Client['raw'],
    call: (async (id: RouteId, input: AnyInput) => {
      const response = await raw(id, input)
      return response.status === 204 ? undefined : await response.json()
    }) as Client['call'],
    events: async function* (id: RouteId, input: AnyInput) {
      const response = await raw(id, input)
      if (response.body) yield* parseEvents(response.body)
    } as Client['events'],
  }
}

interface AnyInput {
  params?: Record<string, string> | undefined
  query?: Record<string, unknown> | undefined
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** `/api/v2/…` of a route with its parameters and query filled in. */
export function urlOf(route: Route, input: Pick<AnyInput, 'params' | 'query'>): string {
  const path = route.path.replaceAll(/\{(\w+)(\*?)\}/g, (_, name: string, rest: string) => {
    const value = input.params?.[name] ?? ''
    return rest ? value.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(value)
  })
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(input.query ?? {}))
    if (value !== undefined && value !== null)
      query.set(key, typeof value === 'string' ? value : JSON.stringify(value))
  return `/api/v2${path}${query.size ? `?${query.toString()}` : ''}`
}

const acceptOf = (route: Route) =>
  route.stream === 'events' ? 'text/event-stream' : route.stream === 'bytes' ? '*/*' : 'application/json'

/** The problem a failed response carries; anything else on the way (a proxy's page) becomes a plain one. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const parsed = Problem.safeParse(await response.json().catch(() => undefined))
  if (!parsed.success) return new ProblemError('internal', `unexpected answer: HTTP ${response.status}`)
  const { code, title, detail, hint, errors } = parsed.data
  return new ProblemError(code, detail ?? title, { hint, ...(errors ? { errors } : {}) })
}

/** Read server-sent events (WHATWG HTML §9.2): `id:` and `data:` lines, a blank line ends one; comments keep it alive. */
export async function* parseEvents<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent<T>> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let rest = ''
  let id: string | undefined
  let event = 'message'
  let data: string[] = []
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const raw of lines) {
        const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
        if (line.startsWith('id:')) id = line.slice(3).trim()
        else if (line.startsWith('event:')) event = line.slice(6).trim()
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
        else if (line === '' && data.length) {
          const payload: unknown = JSON.parse(data.join('\n'))
          if (event === 'problem') throw await problemOf(Response.json(payload))
          yield { id, data: payload as T }
          data = []
          event = 'message'
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
