import { createServer, type IncomingMessage, request as httpRequest, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { type Actor, type AuditRecord, type Event, Problem, ProblemError } from '../../../contract/index.ts'
import { apply } from '../../cluster/apply.ts'
import { actorInLog, originOf } from '../../cluster/audit/origin.ts'
import { type AuditPage, type AuditRead, pageFrom } from '../../cluster/audit/read.ts'
import type {
  Cluster,
  ClusterStatus,
  EventQuery,
  NodeLiveness,
  PeerHandler,
  PeerRequest,
  PeerResponse,
  Peers,
} from '../../cluster/cluster.ts'
import type { Applied, Command, ResultOf } from '../../cluster/commands.ts'
import type { State } from '../../cluster/state.ts'
import { emptyState } from '../../cluster/transaction.ts'

/**
 * TEST DOUBLE. The log of a cluster without Raft: one state in this process, shared by any number of agents. The rules
 * are the real ones (`apply`); what it cannot show is time passing between agents.
 */
export class LogDouble {
  state: State = emptyState
  index = 0
  leader: string | null = 'node-1'
  readonly events: Event[] = []
  readonly audit: AuditRecord[] = []
  readonly agents: ClusterDouble[] = []
  readonly liveness = new Map<string, NodeLiveness>()
  #clock = Date.parse('2026-03-01T08:00:00.000Z')

  /** A new agent of the same cluster. */
  agent(node: string): ClusterDouble {
    const made = new ClusterDouble(this, node)
    this.agents.push(made)
    return made
  }

  propose(command: Command, actor: Actor): unknown {
    if (this.leader === null) throw new ProblemError('no_leader')
    const at = new Date((this.#clock += 1000)).toISOString()
    const origin = originOf(command, actor)
    const entry = { v: 1 as const, at, actor: actorInLog(actor), command, ...(origin ? { origin } : {}) }
    const result = apply(this.state, ++this.index, entry)
    this.state = result.state
    this.audit.push(...result.audit)
    if ('problem' in result.outcome) throw result.outcome.problem
    this.events.push(...result.events)
    const { changed, events } = result
    for (const agent of this.agents) agent.tell({ index: this.index, changed, events })
    return result.outcome.value
  }

  /** What a snapshot from the leader does to watchers. */
  restore(): void {
    this.index++
    for (const agent of this.agents)
      agent.tell({ index: this.index, changed: new Map(), events: [], restored: true })
  }

  setLeader(leader: string | null): void {
    this.leader = leader
    for (const agent of this.agents) agent.tellStatus()
  }

  async close(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.peers.close()))
  }
}

/** TEST DOUBLE of one agent's view of the cluster. */
export class ClusterDouble implements Cluster {
  readonly self: { readonly node: string; readonly member: number }
  readonly peers: PeersDouble
  readonly #log: LogDouble
  readonly #applied = new Set<(applied: Applied) => void>()
  readonly #status = new Set<(status: ClusterStatus) => void>()

  constructor(log: LogDouble, node: string) {
    this.self = { node, member: Number(node.replace('node-', '')) }
    this.#log = log
    this.peers = new PeersDouble(log, node)
  }

  state(): State {
    return this.#log.state
  }

  async propose<C extends Command>(command: C, actor: Actor): Promise<ResultOf<C>> {
    return this.#log.propose(command, actor) as ResultOf<C>
  }

  async barrier(): Promise<void> {
    if (this.#log.leader === null) throw new ProblemError('no_leader')
  }

  staleMs(): number | null {
    return this.#log.leader === null ? 12_345 : 0
  }

  onApplied(listener: (applied: Applied) => void): () => void {
    this.#applied.add(listener)
    return () => this.#applied.delete(listener)
  }

  onStatus(listener: (status: ClusterStatus) => void): () => void {
    this.#status.add(listener)
    return () => this.#status.delete(listener)
  }

  status(): ClusterStatus {
    const { index, leader, state } = this.#log
    const members = [...state.nodes.values()].map((row) => row.member).toSorted((a, b) => a - b)
    const voters = members.slice(0, members.length < 3 ? 1 : 3)
    const learners = members.filter((member) => !voters.includes(member))
    const isLeader = leader === this.self.node
    return { leader, isLeader, term: 1, commit: index, applied: index, voters, learners, leaving: [] }
  }

  async events({
    subject,
    after,
    limit,
    order,
  }: EventQuery): Promise<{ items: Event[]; next: string | null }> {
    const workload = (event: Event) => this.#log.state.tasks.get(event.subject.id)?.workload
    const all = this.#log.events.filter(
      (event) => !subject || event.subject.id === subject.id || workload(event) === subject.id,
    )
    const sorted = order === 'newest' ? all.toReversed() : all
    const begin = after === undefined ? 0 : sorted.findIndex((event) => event.id === after) + 1
    const items = sorted.slice(begin, begin + limit)
    return { items, next: begin + limit < sorted.length ? (items.at(-1)?.id ?? null) : null }
  }

  audit(read: AuditRead): Promise<AuditPage> {
    const { before = Infinity } = read
    return pageFrom(this.#log.audit.filter(({ seq }) => seq < before).toReversed(), read)
  }

  async *auditAfter(after: number): AsyncGenerator<AuditRecord> {
    yield* this.#log.audit.filter(({ seq }) => seq > after)
  }

  tell(applied: Applied): void {
    for (const listener of this.#applied) listener(applied)
  }

  tellStatus(): void {
    for (const listener of this.#status) listener(this.status())
  }
}

/** TEST DOUBLE of the peer wire: plain HTTP over loopback between the agents of one LogDouble. */
export class PeersDouble implements Peers {
  readonly #log: LogDouble
  readonly #node: string
  readonly #handlers = new Map<string, PeerHandler>()
  readonly #liveness = new Set<() => void>()
  #server: Server | undefined
  /** Set: requests to this agent fail as if it were off. */
  unreachable = false

  constructor(log: LogDouble, node: string) {
    this.#log = log
    this.#node = node
  }

  async request(node: string, request: PeerRequest): Promise<PeerResponse> {
    const target = this.#log.agents.find((agent) => agent.self.node === node)?.peers
    if (!target || target.unreachable) throw new ProblemError('node_unreachable', `${node} cannot be reached`)
    const { method, path, headers = {}, body } = request
    const port = await target.#listen()
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = httpRequest({ port, method, path, headers: { ...headers, 'x-from': this.#node } }, resolve)
      sent.on('error', reject)
      if (body instanceof Readable) body.pipe(sent)
      else sent.end(body)
    })
    const { statusCode: status = 0 } = response
    if (status < 400) return { status, headers: response.headers, body: response }
    const { code, title, detail } = Problem.parse(await new Response(Readable.toWeb(response)).json())
    throw new ProblemError(code, detail ?? title)
  }

  serve(prefix: string, handler: PeerHandler): void {
    this.#handlers.set(prefix, handler)
  }

  liveness(): ReadonlyMap<string, NodeLiveness> {
    return this.#log.liveness
  }

  onLiveness(listener: () => void): () => void {
    this.#liveness.add(listener)
    return () => this.#liveness.delete(listener)
  }

  beat(): void {
    for (const listener of this.#liveness) listener()
  }

  async close(): Promise<void> {
    this.#server?.closeAllConnections()
    await new Promise((resolve) => (this.#server ? this.#server.close(resolve) : resolve(undefined)))
  }

  async #listen(): Promise<number> {
    if (!this.#server) {
      const server = createServer((request, response) => {
        const found = [...this.#handlers].find(([prefix]) => request.url?.startsWith(prefix))
        const answered = found
          ? found[1](String(request.headers['x-from']), request, response)
          : Promise.reject(new ProblemError('not_found'))
        answered.catch((error: unknown) => {
          const problem = error instanceof ProblemError ? error : new ProblemError('internal')
          response.writeHead(problem.status).end(JSON.stringify(problem.toProblem()))
        })
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      this.#server = server
    }
    return (this.#server.address() as AddressInfo).port
  }
}
