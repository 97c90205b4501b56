import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ProblemError } from '../../../contract/index.ts'
import type { NodeLiveness, PeerHandler, PeerRequest, PeerResponse, Peers } from '../../cluster/cluster.ts'

/** TEST DOUBLE of the peer wire: plain HTTP between agents of one process, each of which can be killed at any byte. */
export class LoopbackNetwork {
  readonly agents = new Map<string, LoopbackPeers>()

  async join(node: string): Promise<LoopbackPeers> {
    const agent = new LoopbackPeers(this, node)
    this.agents.set(node, agent)
    await agent.start()
    return agent
  }

  readonly nodes = (): string[] => [...this.agents.keys()]

  async close(): Promise<void> {
    for (const agent of this.agents.values()) await agent.kill()
  }
}

export class LoopbackPeers implements Peers {
  readonly node: string
  /** Every request that reached this agent: `PUT /blobs/…`. */
  readonly served: string[] = []
  /** Looked at before a request is handled; it may kill, wait or throw. */
  before: (request: http.IncomingMessage) => Promise<void> | void = () => undefined
  readonly judged = new Map<string, NodeLiveness>()
  readonly #network: LoopbackNetwork
  readonly #handlers: { prefix: string; handler: PeerHandler }[] = []
  readonly #sockets = new Set<Socket>()
  #server: http.Server | undefined
  #port = 0

  constructor(network: LoopbackNetwork, node: string) {
    this.#network = network
    this.node = node
  }

  async start(): Promise<void> {
    const server = http.createServer({ requestTimeout: 0 }, (request, response) => {
      void this.#answer(request, response)
    })
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket)).on('error', () => undefined)
    })
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** As by kill -9: every connection breaks where it is, new ones are refused. */
  async kill(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    for (const socket of this.#sockets) socket.resetAndDestroy()
    if (server) await new Promise((done) => server.close(done))
  }

  get connections(): number {
    return this.#sockets.size
  }

  get alive(): boolean {
    return this.#server !== undefined
  }

  liveness(): ReadonlyMap<string, NodeLiveness> {
    return this.judged
  }

  onLiveness(): () => void {
    return () => undefined
  }

  serve(prefix: string, handler: PeerHandler): void {
    this.#handlers.unshift({ prefix, handler })
  }

  async request(node: string, request: PeerRequest): Promise<PeerResponse> {
    const target = this.#network.agents.get(node)
    const unreachable = (cause?: unknown) => new ProblemError('node_unreachable', undefined, { cause })
    if (!this.alive || !target?.alive) throw unreachable()
    const outgoing = http.request({
      port: target.#port,
      method: request.method,
      path: request.path,
      headers: { ...request.headers, 'x-from-node': this.node },
      agent: false,
      signal: request.signal,
    })
    const timer = setTimeout(() => outgoing.destroy(new Error('timeout')), request.timeoutMs ?? 5_000)
    try {
      const answered = once(outgoing, 'response') as Promise<[http.IncomingMessage]>
      const body = request.body instanceof Readable ? request.body : Readable.from(bodyOf(request.body))
      // A peer may answer before it has read everything: the reply counts then, not the broken pipe.
      pipeline(body, outgoing).catch((error: Error) => outgoing.destroy(error))
      const [response] = await answered
      return { status: response.statusCode ?? 0, headers: response.headers, body: response }
    } catch (error) {
      throw unreachable(error)
    } finally {
      clearTimeout(timer)
    }
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    this.served.push(`${request.method} ${request.url}`)
    try {
      await this.before(request)
      const found = this.#handlers.find(({ prefix }) => request.url?.startsWith(prefix))
      if (!found) throw new ProblemError('not_found')
      await found.handler(String(request.headers['x-from-node']), request, response)
    } catch (error) {
      const problem = error instanceof ProblemError ? error : new ProblemError('internal', String(error))
      if (response.headersSent) response.destroy()
      else
        response
          .writeHead(problem.status, { 'content-type': 'application/problem+json' })
          .end(JSON.stringify(problem.toProblem()))
    }
  }
}

function bodyOf(body: Buffer | string | undefined): Buffer[] {
  return body === undefined ? [] : [Buffer.from(body)]
}
