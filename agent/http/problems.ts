import type { FastifyReply, FastifyRequest } from 'fastify'
import { ProblemError } from '../../contract/index.ts'
import { RateLimited } from '../services/back-off.ts'
import { securityHeaders } from '../../contract/csp.ts'

/** Whatever was thrown, as a problem: ours as it is, Fastify's own by what they mean, all else `internal`. */
export function toProblem(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error
  const {
    code = '',
    statusCode = 500,
    message = '',
  } = error as Partial<Record<'code' | 'message', string>> & {
    statusCode?: number
  }
  if (statusCode === 413) return new ProblemError('too_large', 'a JSON body may have at most 4 MiB')
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new ProblemError('invalid_request', 'expected the content type application/json')
  if (statusCode >= 400 && statusCode < 500) return new ProblemError('invalid_request', message.slice(0, 300))
  return new ProblemError('internal', undefined, { cause: error })
}

export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = toProblem(error)
  if (problem.code === 'internal') request.log.error({ err: error, url: request.url }, 'failed to answer')
  else if (problem.status >= 500) {
    const cause = problem.cause instanceof Error ? { cause: problem.cause.message } : {}
    request.log.warn({ code: problem.code, url: request.url, ...cause }, problem.message)
  }
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer')
  if (problem instanceof RateLimited) reply.header('retry-after', problem.retryAfter)
  reply
    .status(problem.status)
    .header('content-type', 'application/problem+json')
    .headers({ ...securityHeaders, 'cache-control': 'no-store', 'x-request-id': request.id })
    .type('application/problem+json')
    // A Buffer, or Fastify would add a charset, which this type does not have (RFC 9457).
    .send(Buffer.from(JSON.stringify(problem.toProblem(request.id))))
}
