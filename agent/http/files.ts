import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** A handler's answer that is a file. */
export interface FileReply {
  readonly name: string
  readonly type: string
  /** Unknown while it is being made: then it is sent whole, whatever range was asked for. */
  readonly bytes?: number
  /** Strong: the content's digest. */
  readonly etag?: string
  readonly attachment: boolean
  /** The bytes from `start` to `end`, both included. */
  open(range?: ByteRange): Promise<Readable>
}

export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Answer a file, or the one part of it that was asked for. */
export async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  file: FileReply,
): Promise<unknown> {
  const etag = file.etag && `"${file.etag}"`
  reply.headers({
    'accept-ranges': file.bytes === undefined ? 'none' : 'bytes',
    'content-disposition': file.attachment ? disposition(file.name) : 'inline',
    ...(etag ? { etag, 'cache-control': 'private, no-cache' } : {}),
  })
  if (etag && matches(request.headers['if-none-match'], etag)) return reply.status(304).send()
  if (file.bytes === undefined) return reply.type(file.type).send(await file.open())
  return sendPart(request, reply, file, file.bytes, etag)
}

async function sendPart(
  request: FastifyRequest,
  reply: FastifyReply,
  file: FileReply,
  bytes: number,
  etag: string | undefined,
): Promise<unknown> {
  const range = rangeOf(request, bytes, etag)
  if (range === 'unsatisfiable') return reply.status(416).header('content-range', `bytes */${bytes}`).send()
  const { start, end } = range ?? { start: 0, end: bytes - 1 }
  if (range) reply.status(206).header('content-range', `bytes ${start}-${end}/${bytes}`)
  reply.type(file.type).header('content-length', end - start + 1)
  // A stream even where there is nothing to send: for no payload Fastify would answer the length 0.
  const isEmpty = bytes === 0 || request.method === 'HEAD'
  return reply.send(isEmpty ? Readable.from([]) : await file.open(range))
}

/** RFC 9110 §14: one range is served; several, or units nobody knows, mean the whole file. */
function rangeOf(
  { headers, method }: FastifyRequest,
  bytes: number,
  etag: string | undefined,
): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(headers.range ?? '')
  const condition = headers['if-range']
  if (!match || method !== 'GET' || (condition !== undefined && condition !== etag)) return undefined
  const [, from = '', to = ''] = match
  if (from === '' && to === '') return undefined
  const start = from === '' ? Math.max(0, bytes - Number(to)) : Number(from)
  const end = from === '' || to === '' ? bytes - 1 : Math.min(Number(to), bytes - 1)
  if (from !== '' && to !== '' && Number(to) < start) return undefined
  return start < bytes && start <= end ? { start, end } : 'unsatisfiable'
}

function matches(header: string | undefined, etag: string): boolean {
  return (
    header?.split(',').some((each) => each.trim().replace(/^W\//, '') === etag || each.trim() === '*') ??
    false
  )
}

/** RFC 6266: the name for every client, and as it is for those that know UTF-8. */
export function disposition(name: string): string {
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\%]/g, '_')
  const encoded = encodeURIComponent(name).replaceAll(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`
}
