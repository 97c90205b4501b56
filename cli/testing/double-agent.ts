// A double of the agent: speaks the contract over real HTTP(S), keeps everything in memory, runs nothing.
import { createHash, randomUUID } from 'node:crypto'
import { on } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { type ProblemCode, ProblemError } from '../../contract/problem.ts'
import { type RouteId, routes } from '../../contract/routes.ts'
import { isFinal } from '../../contract/states.ts'
import type { DoubleCluster } from './double-cluster.ts'

export interface Asked {
  id: RouteId
  params: Record<string, string>
  query: URLSearchParams
  headers: IncomingMessage['headers']
  body: Buffer
}

export class DoubleAgent {
  readonly cluster: DoubleCluster
  readonly requests: Asked[] = []
  /** Called after the work, before the answer: may kill the agent, or throw a problem instead of answering. */
  beforeAnswer: (asked: Asked, agent: DoubleAgent) => void = () => undefined
  /** Dies in the middle of a log after so many lines. */
  dieAfterLines = Infinity
  /** Dies in the middle of a file, after so many bytes. */
  cutBytesAt = Infinity
  readonly #server: http.Server
  private constructor(cluster: DoubleCluster, server: http.Server) {
    this.cluster = cluster
    this.#server = server
    server.on('request', (req, res) => void this.#serve(req, res))
  }

  static async start(cluster: DoubleCluster): Promise<DoubleAgent> {
    const server = cluster.authority
      ? https.createServer(await cluster.authority.issue())
      : http.createServer()
    const agent = new DoubleAgent(cluster, server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cluster.agents.push(agent)
    return agent
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo | null)?.port ?? 1}`
  }
  get origin(): string {
    return `${this.cluster.authority ? 'https' : 'http'}://${this.address}`
  }

  /** As kill -9 ends it: no goodbye on any connection. */
  kill(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    try {
      const url = new URL(req.url ?? '/', 'http://double')
      const asked: Asked = {
        ...match(req.method, url.pathname),
        query: url.searchParams,
        headers: req.headers,
        body: await buffer(req),
      }
      this.requests.push(asked)
      const access = routes[asked.id].access
      const token = req.headers.authorization?.replace('Bearer ', '') ?? ''
      if (access !== 'public' && !this.cluster.tokens.has(token)) throw new ProblemError('unauthenticated')
      if (asked.id === 'experiments.logs') return await this.#sendLog(asked, res)
      const [status, reply, headers] = this.#answer(asked)
      this.beforeAnswer(asked, this)
      const bytes = Buffer.isBuffer(reply)
      res.writeHead(status, {
        'content-type': bytes ? 'application/octet-stream' : 'application/json',
        ...(this.cluster.replacement ? { 'submarine-ca': this.cluster.replacement.sha256 } : {}),
        ...headers,
      })
      if (bytes && reply.length > this.cutBytesAt)
        return void res.write(reply.subarray(0, this.cutBytesAt), () => this.kill())
      res.end(bytes ? reply : status === 204 ? undefined : JSON.stringify(reply))
    } catch (error) {
      if (res.headersSent) return void res.destroy()
      const problem = error instanceof ProblemError ? error : new ProblemError('internal', String(error))
      res.writeHead(problem.status, { 'content-type': 'application/problem+json' })
      res.end(JSON.stringify(problem.toProblem()))
    }
  }

  async #sendLog({ params, query }: Asked, res: ServerResponse): Promise<void> {
    const { id } = this.cluster.find(params.experiment)
    const given = this.cluster.logs.filter(
      (l) => l.task.startsWith(`${id}-`) && (query.get('task') ?? l.task) === l.task,
    )
    const from = Number(query.get('offset') ?? 0)
    let sent = query.has('tail') ? Math.max(0, given.length - Number(query.get('tail'))) : 0
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    for (;;) {
      const lines = this.cluster.logs.filter(
        (l) => l.task.startsWith(`${id}-`) && (query.get('task') ?? l.task) === l.task,
      )
      for (const line of lines.slice(sent)) {
        if (this.dieAfterLines-- <= 0) return void res.write(': the last words\n', () => this.kill())
        if (line.offset > from) res.write(`id: ${line.offset}\ndata: ${JSON.stringify(line)}\n\n`)
      }
      sent = lines.length
      if (query.get('follow') !== '1' || isFinal(this.cluster.find(id).state)) return void res.end()
      const ended = AbortSignal.timeout(10_000)
      for await (const _ of on(this.cluster.changed, 'change', { signal: ended })) break
    }
  }

  #answer({ id, params, query, headers, body }: Asked): [number, unknown, Record<string, string>?] {
    const c = this.cluster
    const page = (items: unknown[]) => [200, { items, next_page_token: null, resource_version: 7 }] as [number, unknown]
    const json = () => JSON.parse(body.toString() || 'null') as Record<string, unknown>
    const { ca: pem = '', sha256 = '' } = c.replacement ?? c.authority ?? {}
    const ca = { pem, sha256 }
    switch (id) {
      case 'version.get': return [200, { product: 'submarine-docker-cluster', version: '0', api: 'v2', cluster: { id: 'c1', name: 'lab' }, node: { id: 'n1', name: 'node-1' }, ca_sha256: ca.sha256, demo: false }]
      case 'ca.get': return [200, Buffer.from(ca.pem)]
      case 'session.create': {
        if (json().password !== 'right') throw new ProblemError('bad_credentials')
        const token = randomUUID()
        c.tokens.add(token)
        return [201, { user: json().user, rank: 'admin', token, expires_at: '2099-01-01T00:00:00Z' }, { 'set-cookie': `session=${token}; HttpOnly` }]
      }
      case 'session.delete': return [204, undefined]
      case 'cluster.get': return [200, { id: 'c1', name: 'lab', created_at: '2026-01-01T00:00:00Z', leader: 'n1', term: 1, commit_index: 1, applied_index: 1, voters: c.agents.length, may_fail: 1, warnings: [], copy_age: 0,
        members: c.authority ? c.agents.map((a, i) => ({ member: i, node: `n${i}`, name: `node-${i}`, address: a.address, role: 'voter', leader: i === 0, reachable: true })) : [] }]
      case 'joinTokens.create': return [201, { token: 'join-me', expires_at: '2099-01-01T00:00:00Z' }]
      case 'nodes.list': case 'events.list': case 'experiments.events': return page([])
      case 'experiments.create': {
        const key = String(headers['idempotency-key'])
        const made = c.byKey.get(key) ?? c.add(json(), 'Running')
        if (query.get('dry_run') !== '1') c.byKey.set(key, made)
        return [201, made]
      }
      case 'experiments.list': return page([...c.experiments.values()].filter((e) => (query.get('name') ?? e.name) === e.name))
      case 'experiments.get': return [200, c.find(params.experiment)]
      case 'experiments.edit': {
        const { description, tags = {} } = json() as { description?: string; tags?: Record<string, string | null> }
        const old = c.find(params.experiment)
        const merged = Object.entries({ ...old.tags, ...tags }).filter((tag): tag is [string, string] => tag[1] !== null)
        const edited = { ...old, description: description ?? old.description, tags: Object.fromEntries(merged) }
        c.experiments.set(old.id, edited)
        return [200, edited]
      }
      case 'experiments.stop': return [200, { ...c.find(params.experiment), stop_requested: true }]
      case 'experiments.delete': return c.find(params.experiment), c.experiments.delete(params.experiment ?? ''), [204, undefined]
      case 'experiments.artifacts': return page(c.artifacts.map(({ data: _, ...artifact }) => artifact))
      case 'experiments.artifact': {
        const data = c.artifacts.find((a) => a.path === params.path)?.data ?? Buffer.alloc(0)
        const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0)
        return from ? [206, data.subarray(from), { 'content-range': `bytes ${from}-${data.length - 1}/${data.length}` }] : [200, data]
      }
      case 'blobs.create': {
        const sha256 = createHash('sha256').update(body).digest('hex')
        c.blobs.set(sha256, body)
        return [201, { sha256, bytes: body.length, copies: 2 }]
      }
      default: throw new ProblemError('unsupported' satisfies ProblemCode, id)
    }
  } // prettier-ignore
}

function match(method = 'GET', path: string): Pick<Asked, 'id' | 'params'> {
  for (const [id, route] of Object.entries(routes)) {
    const pattern = route.path.replaceAll(
      /\{(\w+)(\*?)\}/g,
      (_, name: string, rest: string) => `(?<${name}>${rest ? '.+' : '[^/]+'})`,
    )
    const found = route.method === method && new RegExp(`^/api/v2${pattern}$`).exec(path)
    if (found)
      return {
        id: id as RouteId,
        params: Object.fromEntries(
          Object.entries(found.groups ?? {}).map(([k, v]) => [k, decodeURIComponent(v)]),
        ),
      }
  }
  throw new ProblemError('not_found', path)
}
