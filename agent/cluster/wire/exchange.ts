import { type Agent, type ClientRequest, type IncomingMessage, request as send } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ProblemError } from '../../../contract/index.ts'
import type { PeerRequest, PeerResponse } from '../cluster.ts'

/**
 * One HTTP request to another agent. Throws ProblemError `node_unreachable` when there is no answer, the abort reason
 * when the caller's signal aborted.
 */
export async function exchange(
  agent: Agent,
  host: string,
  node: string,
  request: PeerRequest,
): Promise<PeerResponse> {
  for (let tries = 0; ; tries++) {
    request.signal?.throwIfAborted()
    const sent = send({
      agent,
      host,
      method: request.method,
      path: request.path,
      headers: headersOf(request),
    })
    try {
      return await attempt(sent, request)
    } catch (cause) {
      if (request.signal?.aborted) throw request.signal.reason
      // A kept connection may have been closed by the other side just as it was used again.
      if (sent.reusedSocket && isRepeatable(request) && isReset(cause) && tries < 3) continue
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new ProblemError('node_unreachable', `${node} is not reachable: ${reason}`, { cause })
    }
  }
}

function attempt(sent: ClientRequest, request: PeerRequest): Promise<PeerResponse> {
  const { signal, timeoutMs = 5_000 } = request
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    const aborted = () => sent.destroy(new Error('aborted'))
    signal?.addEventListener('abort', aborted)
    const over = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', aborted)
    }
    sent.on('error', (error) => {
      over()
      reject(error)
    })
    sent.on('response', (response) => {
      clearTimeout(timer)
      // From here on an abort is seen where the body is read.
      signal?.removeEventListener('abort', aborted)
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: follow(response, signal) })
    })
    upload(sent, request)
  })
}

/** The body dies with the caller's signal, and the connection with it. */
function follow(response: IncomingMessage, signal: AbortSignal | undefined): Readable {
  if (!signal) return response
  const aborted = () =>
    response.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
  if (signal.aborted) aborted()
  signal.addEventListener('abort', aborted)
  response.once('close', () => signal.removeEventListener('abort', aborted))
  return response
}

function upload(sent: ClientRequest, { body }: PeerRequest): void {
  if (!(body instanceof Readable)) return void sent.end(body)
  // Either side may end early: the other side's answer, or the failure of `sent`, tells the rest.
  pipeline(body, sent).catch((error: unknown) => {
    sent.destroy(error instanceof Error ? error : new Error(String(error)))
  })
}

function headersOf({ headers = {}, body }: PeerRequest): Record<string, string | number> {
  if (body === undefined || body instanceof Readable) return headers
  return { ...headers, 'content-length': Buffer.byteLength(body) }
}

const isRepeatable = ({ method, body }: PeerRequest) => method !== 'POST' && !(body instanceof Readable)

const isReset = (error: unknown) =>
  error instanceof Error && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')

/** At most so many bytes of a text that should be short; what is longer is cut. */
export async function readWhole(body: Readable, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      if ((bytes += chunk.length) > maxBytes) break
    }
  } catch {
    // Half an answer is judged as what it is.
  }
  return Buffer.concat(chunks).toString('utf8')
}
