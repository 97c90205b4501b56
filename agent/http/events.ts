import type { ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ProblemError } from '../../contract/index.ts'
import { toProblem } from './problems.ts'

export interface SentEvent {
  readonly id?: string
  readonly data: unknown
}

/** A handler's answer that is a stream of events. */
export interface EventReply {
  readonly events: AsyncIterable<SentEvent>
  /** Send plain lines instead. */
  readonly asText?: (data: unknown) => string
  /** The first event is there at once or not at all: wait for it, so that a failure is answered with its own status. */
  readonly waitForFirst: boolean
}

export interface StreamOptions {
  readonly heartbeatMs: number
  /** Who asked may have signed out since. */
  readonly stillAllowed: () => boolean
  /** Aborting it ends the events. */
  readonly abort: AbortController
}

/**
 * Write events as they come and no faster than the client takes them, until they end or the client leaves. Comments
 * in between keep proxies from closing a quiet connection.
 */
export async function sendEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  answer: EventReply,
  { heartbeatMs, stillAllowed, abort }: StreamOptions,
): Promise<void> {
  const { asText } = answer
  const events = answer.events[Symbol.asyncIterator]()
  const first = answer.waitForFirst ? await events.next() : undefined
  const type = asText ? 'text/plain; charset=utf-8' : 'text/event-stream'
  reply.headers({ 'content-type': type, 'cache-control': 'no-store' })
  reply.hijack()
  const out = reply.raw
  out.writeHead(200, reply.getHeaders() as Record<string, string>)
  out.flushHeaders()
  if (!asText) out.write(': events follow\n\n')
  let ended: unknown
  const heartbeat = setInterval(() => {
    if (stillAllowed()) {
      if (!asText && !out.writableNeedDrain && !out.destroyed) out.write(': still here\n\n')
      return
    }
    ended = new ProblemError('unauthenticated', 'the session ended')
    abort.abort()
  }, heartbeatMs)
  try {
    for (let next = first ?? (await events.next()); !next.done; next = await events.next()) {
      await write(out, asText ? asText(next.value.data) : frame(next.value), abort.signal)
      if (abort.signal.aborted) break
    }
  } catch (error) {
    ended = error
  } finally {
    clearInterval(heartbeat)
    await events.return?.()
  }
  finish(request, out, ended, asText !== undefined)
}

async function write(out: ServerResponse, text: string, signal: AbortSignal): Promise<void> {
  if (out.write(text) || signal.aborted) return
  await once(out, 'drain', { signal }).catch(() => undefined)
}

function frame({ id, data }: SentEvent): string {
  return `${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}

/** The status was sent long ago, so a failure is told as an event of its own; in plain text the stream breaks off. */
function finish(request: FastifyRequest, out: ServerResponse, ended: unknown, isText: boolean): void {
  if (ended === undefined) {
    out.end()
    return
  }
  const problem = toProblem(ended)
  if (problem.code === 'internal') request.log.error({ err: ended, url: request.url }, 'a stream failed')
  if (isText) out.destroy()
  else out.end(`event: problem\ndata: ${JSON.stringify(problem.toProblem(request.id))}\n\n`)
}
