import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { ProblemError } from '../../contract/index.ts'
import type { PeerHandler } from '../cluster/cluster.ts'
import type { LocalBlobs } from './blobs.ts'

/** `/blobs/<sha256>` for the other agents. `x-size` is always the whole file's size. */
export function blobHandler(local: LocalBlobs): PeerHandler {
  return async (_from, request, response) => {
    const sha256 = /^\/blobs\/([0-9a-f]{64})$/.exec(request.url ?? '')?.[1]
    if (sha256 === undefined) throw new ProblemError('not_found')
    switch (request.method) {
      case 'HEAD':
        response.writeHead(200, { 'x-size': held(local, sha256) }).end()
        return
      case 'GET':
        return answer(local, sha256, request, response)
      case 'PUT': {
        // The 2xx says: on this disk, with this digest.
        const { bytes } = await local.put(request, { sha256 })
        response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify({ bytes }))
        return
      }
      case 'DELETE':
        await local.delete(sha256)
        response.writeHead(204).end()
        return
      default:
        throw new ProblemError('unsupported')
    }
  }
}

/** The size; who asks may count this agent as a holder from now on, so the file is touched. */
function held(local: LocalBlobs, sha256: string): number {
  const size = local.touch(sha256)
  if (size === undefined) throw new ProblemError('not_found', `No file ${sha256} on this agent`)
  return size
}

async function answer(
  local: LocalBlobs,
  sha256: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const size = held(local, sha256)
  const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? 'bytes=0-')
  if (!asked) throw new ProblemError('invalid_request', 'Expected a range such as bytes=0-99')
  const start = Math.min(Number(asked[1]), size)
  const end = Math.min(asked[2] ? Number(asked[2]) : Infinity, size - 1)
  const headers = { 'x-size': size, 'content-length': Math.max(0, end - start + 1) }
  if (request.headers.range === undefined || end < start) response.writeHead(200, headers)
  else response.writeHead(206, { ...headers, 'content-range': `bytes ${start}-${end}/${size}` })
  await pipeline(local.read(sha256, { start, end }), response).catch(() => response.destroy())
}
