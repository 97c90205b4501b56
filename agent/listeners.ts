import {
  createServer as createHttp1,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttp2, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import { once } from 'node:events'

/** Both versions of HTTP, before they have something to answer: the port opens last, the handler comes late. */
export function httpServers(): {
  http1: Server
  http2: ReturnType<typeof createHttp2>
  readonly handle: (handler: Handler) => void
  readonly close: () => void
} {
  let handler: Handler | undefined
  const answer: Handler = (request, response) => {
    if (handler) return handler(request, response)
    response.statusCode = 503
    response.end()
  }
  const http1 = createHttp1(answer)
  const http2 = createHttp2(answer)
  return {
    http1,
    http2,
    handle: (given) => (handler = given),
    close: () => {
      http1.closeAllConnections()
      http1.close()
      http2.close()
    },
  }
}

export type Handler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void

/** Plain HTTP for the demo: on loopback and nowhere else. */
export async function listenLoopback(
  port: number,
  handler: Handler,
): Promise<{ port: number; close(): Promise<void> }> {
  const server = createHttp1(handler)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
