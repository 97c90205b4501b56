import { Agent, createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { Problem, ProblemError } from '../../../contract/index.ts'
import type { NodeLiveness, PeerHandler, PeerRequest, PeerResponse, Peers } from '../cluster.ts'
import type { AddressBook } from './address-book.ts'
import { exchange, readWhole } from './exchange.ts'
import { alpn, dial, type Log, type Self } from './tls.ts'

export interface PeerWireOptions {
  readonly self: Self
  readonly addresses: AddressBook
  readonly nodeOf: (member: number) => string
  readonly memberOf: (node: string) => number | undefined
  /** Is it (still) a member? One that was removed hears so, and nothing else. */
  readonly admits?: (member: number) => boolean
  readonly log: Log
  /** Time to a standing connection, for each address tried. */
  readonly connectMs?: number
}

/** Each request tells where its sender is reached now, so that a host that moved is found again. */
const addressHeader = 'submarine-address'
/** The problem's code again, for answers without a body (HEAD). */
const problemHeader = 'submarine-problem'

/** HTTP/1.1 between agents over mutual TLS. Connections are kept, as many as there are requests at once. */
export class PeerWire implements Peers {
  readonly #options: PeerWireOptions
  readonly #server: Server
  readonly #agents = new Map<number, Agent>()
  readonly #members = new WeakMap<object, number>()
  readonly #inbound = new Map<number, Set<TLSSocket>>()
  readonly #handlers = new Map<string, PeerHandler>()
  readonly #listeners = new Set<() => void>()
  #onRemoved = () => {}
  readonly #closing = new AbortController()
  #liveness: ReadonlyMap<string, NodeLiveness> = new Map()

  constructor(options: PeerWireOptions) {
    this.#options = options
    this.#server = createServer({ keepAliveTimeout: 60_000, headersTimeout: 10_000, requestTimeout: 0 })
    this.#server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      void this.#handle(request, response)
    })
    // See Listener: limits are enforced from this event on.
    this.#server.emit('listening')
  }

  /** A connection of `alpn.peer`, its member proven. */
  accept(socket: TLSSocket, member: number): void {
    this.#members.set(socket, member)
    const sockets = this.#inbound.get(member) ?? new Set()
    this.#inbound.set(member, sockets.add(socket))
    socket.once('close', () => sockets.delete(socket))
    this.#server.emit('connection', socket)
  }

  async request(node: string, request: PeerRequest): Promise<PeerResponse> {
    const member = this.#options.memberOf(node)
    // One that was removed could still answer, and must be told nothing more.
    if (member === undefined || this.#options.admits?.(member) === false)
      throw new ProblemError('node_unreachable', `${node} is no node of this cluster`)
    const headers = { ...request.headers, [addressHeader]: this.#options.self.advertised() }
    const response = await exchange(this.#agentOf(member), `member-${member}`, node, { ...request, headers })
    if (response.status < 400) return response
    const problem = await problemIn(response)
    if (problem.code === 'removed') this.#onRemoved()
    throw problem
  }

  /** Called when another agent says that this one was removed. */
  onRemoved(listener: () => void): void {
    this.#onRemoved = listener
  }

  /** The member was removed: what is open to and from it ends. */
  forget(member: number): void {
    this.#agents.get(member)?.destroy()
    this.#agents.delete(member)
    for (const socket of this.#inbound.get(member) ?? []) socket.destroy()
    this.#inbound.delete(member)
  }

  serve(prefix: string, handler: PeerHandler): void {
    if (this.#handlers.has(prefix)) throw new Error(`${prefix} is served already`)
    this.#handlers.set(prefix, handler)
  }

  liveness(): ReadonlyMap<string, NodeLiveness> {
    return this.#liveness
  }

  onLiveness(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The heartbeat's newest answer. */
  setLiveness(table: ReadonlyMap<string, NodeLiveness>): void {
    this.#liveness = table
    for (const listener of this.#listeners) listener()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const agent of this.#agents.values()) agent.destroy()
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #agentOf(member: number): Agent {
    let agent = this.#agents.get(member)
    if (!agent) {
      agent = new DialAgent(async () => {
        const { self, addresses, connectMs = 2_000 } = this.#options
        const target = { member, protocol: alpn.peer, timeoutMs: connectMs, signal: this.#closing.signal }
        return dial(self, await addresses.of(member), target)
      })
      this.#agents.set(member, agent)
    }
    return agent
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A caller that goes away in the middle is no failure of ours.
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    const member = this.#members.get(request.socket)
    if (member === undefined) return void request.destroy()
    const announced = request.headers[addressHeader]
    try {
      if (this.#options.admits && !this.#options.admits(member)) {
        response.setHeader('connection', 'close')
        throw new ProblemError('removed')
      }
      if (typeof announced === 'string')
        this.#options.addresses.learn(member, announced, request.socket.remoteAddress)
      const handler = this.#handlerOf(request.url ?? '/')
      if (!handler) throw new ProblemError('not_found', `no agent serves ${request.url}`)
      await handler(this.#options.nodeOf(member), request, response)
    } catch (error) {
      this.#answerProblem(error, request, response)
    }
  }

  /** The longest prefix wins; one without a slash at its end is a whole path segment. */
  #handlerOf(url: string): PeerHandler | undefined {
    const path = url.split('?', 1)[0] ?? ''
    const fits = (prefix: string) =>
      path === prefix || path.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`)
    const [best] = [...this.#handlers.keys()].filter(fits).sort((a, b) => b.length - a.length)
    return best === undefined ? undefined : this.#handlers.get(best)
  }

  #answerProblem(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    const expected = error instanceof ProblemError
    if (!expected && !request.destroyed)
      this.#options.log.error(
        { path: request.url, error: String(error) },
        'a request of another agent failed',
      )
    // Too late for an answer: only a broken stream tells the caller that this is not all.
    if (response.headersSent) return void response.destroy()
    const problem = (expected ? error : new ProblemError('internal', String(error))).toProblem()
    response.writeHead(problem.status, {
      'content-type': 'application/problem+json',
      [problemHeader]: problem.code,
      // What is left of an upload is not wanted.
      ...(request.complete ? {} : { connection: 'close' }),
    })
    response.end(JSON.stringify(problem))
  }
}

/** The problem in an answer; anything else that is no success becomes `internal`. */
async function problemIn(response: PeerResponse): Promise<ProblemError> {
  const text = await readWhole(response.body, 65_536)
  const bare = Problem.shape.code.safeParse(response.headers[problemHeader])
  try {
    const { code, detail, hint, errors } = Problem.parse(JSON.parse(text))
    return new ProblemError(code, detail, { hint, ...(errors ? { errors } : {}) })
  } catch {
    if (bare.success) return new ProblemError(bare.data)
    return new ProblemError('internal', `another agent answered HTTP ${response.status}`)
  }
}

/** Connections to one member; where it is, is found out anew for each. */
class DialAgent extends Agent {
  readonly #connect: () => Promise<TLSSocket>

  constructor(connect: () => Promise<TLSSocket>) {
    super({ keepAlive: true, maxFreeSockets: 8, scheduling: 'lifo' })
    this.#connect = connect
  }

  override createConnection(
    _options: unknown,
    ready?: (error: Error | null, stream: TLSSocket) => void,
  ): undefined {
    this.#connect().then(
      (socket) => ready?.(null, socket),
      // Node's callback takes an error alone; its type does not say so.
      (error: unknown) => (ready as ((error: unknown) => void) | undefined)?.(error),
    )
  }
}
