import { text } from 'node:stream/consumers'
import { type ProblemCode, ProblemError } from '../../contract/problem.ts'
import { liveStream, readBody } from './body.ts'
import { securityHeaders } from '../../contract/csp.ts'
import type { CurrentCluster } from './current-cluster.ts'
import type { Incoming } from './upstream.ts'
import { consoleOrigin } from './window-policy.ts'

/** Electron's Request, which also tells what page asked; unlike `Origin` and `Referer` the page has no say in it. */
export type PageRequest = Request & { readonly initiatorOrigin?: string }

/** What the page may say to an agent. Cookies, origins and authorization are not among it. */
const passedOn = [
  'accept', 'content-type', 'range', 'if-range', 'if-match', 'if-none-match', 'idempotency-key', 'last-event-id',
] // prettier-ignore
/** What an agent says to this process alone: sign-ins, and the connection's own affairs. */
const keptBack = new Set([
  'set-cookie', 'connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'alt-svc', 'clear-site-data', 'location',
]) // prettier-ignore

const sessionPath = '/api/v2/session'

export interface ApiProxy {
  handle(request: PageRequest): Promise<Response>
}

/** Forwards `/api/…` of the page to the current cluster, with the sign-in this process holds. */
export function createApiProxy(cluster: CurrentCluster, onSignedIn: () => Promise<void>): ApiProxy {
  return {
    handle: async (request) => {
      try {
        refuseForeign(request)
        return await forward(request, cluster, onSignedIn)
      } catch (error) {
        return problemResponse(error)
      }
    },
  }
}

/** A frame of another origin must not use our sign-in, be it by a form or a fetch without an answer. */
function refuseForeign(request: PageRequest): void {
  const from = request.initiatorOrigin ?? request.headers.get('origin') ?? undefined
  const reads = request.method === 'GET' || request.method === 'HEAD'
  if (from === consoleOrigin || (from === undefined && reads)) return
  throw new ProblemError('foreign_origin')
}

async function forward(
  request: PageRequest,
  cluster: CurrentCluster,
  onSignedIn: () => Promise<void>,
): Promise<Response> {
  const { upstream } = cluster
  // An agent's address would read a backslash as a slash, and leave /api/ by it.
  if (request.url.includes('\\')) throw new ProblemError('not_found')
  if (!upstream)
    throw new ProblemError('no_leader', 'no cluster is chosen', { hint: 'Connect to a cluster first.' })
  const url = new URL(request.url)
  const path = url.pathname + url.search
  // One switch for both ways a page lets go: its signal, and no longer reading.
  const left = new AbortController()
  const letGo = () => left.abort()
  request.signal.addEventListener('abort', letGo, { once: true })
  if (request.signal.aborted) letGo()
  const headers = headersFor(request, cluster.token)
  const answer = await upstream.send({
    method: request.method,
    path,
    headers,
    body: await readBody(request.body),
    signal: left.signal,
  })
  if (url.pathname === sessionPath) return session(request.method, answer, cluster, onSignedIn)
  const bare = request.method === 'HEAD' || answer.status === 204 || answer.status === 304
  const onCancel = () => {
    // That this names the request matters: a collected Request no longer passes its abortion on.
    request.signal.removeEventListener('abort', letGo)
    letGo()
  }
  const body = bare ? null : liveStream(answer.body, onCancel)
  return new Response(body, { status: answer.status, headers: headersOf(answer) })
}

function headersFor(request: Request, token: string | undefined): Record<string, string> {
  // Nobody between here and the page would undo a compression.
  const headers: Record<string, string> = { 'accept-encoding': 'identity' }
  for (const name of passedOn) {
    const value = request.headers.get(name)
    if (value !== null) headers[name] = value
  }
  if (token) headers.authorization = `Bearer ${token}`
  return headers
}

function headersOf(answer: Incoming): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(answer.headers))
    if (value !== undefined && !keptBack.has(name)) headers.set(name, String(value))
  for (const [name, value] of Object.entries(securityHeaders)) headers.set(name, value)
  return headers
}

/** Signing in and out: the token stays in this process, the page learns who it is. */
async function session(
  method: string,
  answer: Incoming,
  cluster: CurrentCluster,
  onSignedIn: () => Promise<void>,
): Promise<Response> {
  const content = await text(answer.body)
  const headers = headersOf(answer)
  headers.delete('content-length')
  const good = answer.status >= 200 && answer.status < 300
  if (good && method === 'DELETE') cluster.signedOut()
  if (!good || method !== 'POST')
    return new Response(answer.status === 204 ? null : content, { status: answer.status, headers })
  const reply = JSON.parse(content) as { token?: unknown }
  if (typeof reply.token === 'string') cluster.signedIn(reply.token)
  await onSignedIn()
  return Response.json({ ...reply, token: '' }, { status: answer.status, headers })
}

export function problemResponse(error: unknown): Response {
  const code: ProblemCode = 'internal'
  const problem =
    error instanceof ProblemError
      ? error
      : new ProblemError(code, error instanceof Error ? error.message : String(error), { hint: 'Try again.' })
  return Response.json(problem.toProblem(), {
    status: problem.status,
    headers: { ...securityHeaders, 'content-type': 'application/problem+json' },
  })
}
