import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { ProblemError } from '../../contract/index.ts'
import type { PeerHandler } from '../cluster/cluster.ts'
import { newline } from './disk.ts'
import { streamOf } from './peer-io.ts'
import type { Placed, StreamFile } from './stream-file.ts'
import { type LocalStreams, parseStreamName } from './streams.ts'

/** `/streams/<task>/<attempt>.<kind>` for the other agents; see the functions below for each method. */
export function streamHandler(local: LocalStreams, beatMs: number): PeerHandler {
  return async (_from, request, response) => {
    const url = new URL(request.url ?? '', 'http://peer')
    const key = parseStreamName(url.pathname.replace(/^\/streams\//, ''))
    if (!key) throw new ProblemError('not_found')
    if (request.method === 'PUT') {
      const placed = await put(local, await local.file(key), url.searchParams, request)
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(placed))
      return
    }
    const file = await local.find(key)
    if (!file) throw new ProblemError('not_found', 'No such stream on this agent')
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...describe(file), 'x-tail': await file.tailDigest(file.size) }).end()
      return
    }
    if (request.method !== 'GET') throw new ProblemError('unsupported')
    await get(file, url.searchParams, response, beatMs)
  }
}

function describe(file: StreamFile) {
  return { 'x-size': file.size, ...(file.sealed ? { 'x-sealed': file.sealed.sha256 } : {}) }
}

/**
 * `?offset=N` puts the body exactly there (`truncate=1` first forgets what follows, `sync=1` answers once it is on
 * disk); `?seal=SHA256&size=N` seals the copy if it is that. Answers `Placed`.
 */
async function put(
  local: LocalStreams,
  file: StreamFile,
  query: URLSearchParams,
  body: IncomingMessage,
): Promise<Placed> {
  const seal = query.get('seal')
  if (seal !== null) {
    const sealed = await file.seal({ sha256: seal, bytes: integer(query, 'size') })
    body.resume()
    return { accepted: sealed !== undefined, size: file.size }
  }
  local.checkSpace('copies')
  let at = integer(query, 'offset')
  if (query.has('truncate')) await file.truncate(at)
  let placed = await file.appendAt(at, Buffer.alloc(0))
  for await (const chunk of body.iterator({ destroyOnReturn: false })) {
    // The rest of a refused body is read and dropped: the answer matters, and the sender stops when it has it.
    if (!placed.accepted) continue
    placed = await file.appendAt(at, chunk as Buffer)
    at += (chunk as Buffer).length
  }
  if (placed.accepted && query.has('sync')) await file.sync()
  return placed
}

/**
 * `?from=N` or `?tail=N`; with `follow=1` until the seal, an empty line being a sign of life and no part of the
 * stream. `x-from` is where the body begins.
 */
async function get(file: StreamFile, query: URLSearchParams, response: ServerResponse, beatMs: number) {
  const from = query.has('tail') ? await file.tailStart(integer(query, 'tail')) : integer(query, 'from')
  await file.checkStart(from)
  const headers = { ...describe(file), 'x-from': from, 'content-type': 'application/jsonl' }
  const end = file.size
  if (query.has('follow')) {
    response.writeHead(200, headers).flushHeaders()
    const body = streamOf((signal) => following(file, from, signal, beatMs))
    return pipeline(body, response).catch(() => response.destroy())
  }
  response.writeHead(200, { ...headers, 'content-length': Math.max(0, end - from) })
  return pipeline(
    streamOf(() => file.bytes(from, end)),
    response,
  ).catch(() => response.destroy())
}

/** Bytes as they come. Ends at the seal, and when the copy was cut or deleted below the reader. */
export async function* following(
  file: StreamFile,
  from: number,
  signal: AbortSignal | undefined,
  beatMs?: number,
): AsyncGenerator<Buffer> {
  let at = from
  let whole = true
  while (!signal?.aborted && !file.gone) {
    for await (const block of file.bytes(at, file.size)) {
      at += block.length
      whole = block.at(-1) === newline
      yield block
      if (signal?.aborted) return
    }
    if (at < file.size) continue
    if (file.sealed || at > file.size) return
    await file.changed(signal, beatMs)
    // Only between records: within one it would become a part of it.
    if (beatMs !== undefined && at === file.size && whole) yield Buffer.from('\n')
  }
}

function integer(query: URLSearchParams, name: string): number {
  const value = query.get(name) ?? ''
  if (!/^\d{1,15}$/.test(value)) throw new ProblemError('invalid_request', `Expected a whole number: ${name}`)
  return Number(value)
}
