import { createServer, type Server } from 'node:http'
import { connect, createServer as createHttp2Server, type Http2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { createServices, type Services } from '../../services/index.ts'
import type { ServiceDeps } from '../../services/context.ts'
import { World } from '../../services/testing/world.ts'
import { createLog } from '../log.ts'
import { createHttp, type HttpDeps } from '../server.ts'

/** An agent's HTTP over loopback, as a real listener feeds it: HTTP/1.1 and HTTP/2, on doubles of what lies below. */
export interface Served {
  readonly world: World
  readonly services: Services
  readonly origin: string
  readonly host: string
  readonly h2: string
  readonly logged: string[]
  fetch(path: string, init?: RequestInit): Promise<Response>
  close(): Promise<void>
}

export interface ServeOptions {
  readonly nodes?: number
  readonly http?: Partial<HttpDeps>
  readonly services?: Partial<ServiceDeps>
}

export async function serve(options: ServeOptions = {}): Promise<Served> {
  const world = await World.create(options.nodes)
  const services = createServices(world.deps(world.cluster, options.services))
  const logged: string[] = []
  const lines = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged.push(chunk.toString())
      done()
    },
  })
  const http = await createHttp({
    services,
    log: createLog('debug', lines),
    hosts: ['lab.example:7460'],
    consoleFolder: '/nonexistent',
    ...options.http,
  })
  const server = createServer(http.handler)
  const server2 = createHttp2Server(http.handler)
  const [port, port2] = await Promise.all([listen(server), listen(server2)])
  const origin = `http://127.0.0.1:${port}`
  return {
    world,
    services,
    origin,
    host: `127.0.0.1:${port}`,
    h2: `http://127.0.0.1:${port2}`,
    logged,
    fetch: (path, init) => fetch(`${origin}${path}`, init),
    async close() {
      services.close()
      server.closeAllConnections()
      await Promise.all([
        http.close(),
        new Promise((resolve) => server.close(resolve)),
        new Promise((resolve) => server2.close(resolve)),
        world.close(),
      ])
    },
  }
}

async function listen(server: Server | Http2Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** One request over HTTP/2: what a browser sees of a TLS agent, without the TLS. */
export async function fetch2(
  origin: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<{ status: number; headers: Record<string, unknown>; text: string }> {
  const session = connect(origin)
  try {
    return await new Promise((resolve, reject) => {
      const stream = session.request({ ':path': path, ...headers }, { endStream: body === undefined })
      let got: Record<string, unknown> = {}
      let text = ''
      session.on('error', reject)
      stream.on('response', (answered) => (got = answered))
      stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
      stream.on('error', reject)
      stream.on('end', () => resolve({ status: Number(got[':status']), headers: got, text }))
      if (body !== undefined) stream.end(body)
    })
  } finally {
    session.close()
  }
}
