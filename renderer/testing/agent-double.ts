/**
 * DOUBLE of an agent: a Node HTTP server that speaks enough of contract/ for work on the console and its screenshots.
 * Everything it says is invented; nothing here is product code and no test of the product may rest on it.
 * `node renderer/testing/agent-double.ts [port]` serves renderer/dist too. Sign in as admin / submarine.
 * POST /double?quorum=0|1, ?silent=NODE, ?expire=1 changes the weather.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import type { Experiment } from '../../contract/objects.ts'
import { type ProblemCode, ProblemError } from '../../contract/problem.ts'
import { parseSpec } from '../../contract/spec.ts'
import { isFinal } from '../../contract/states.ts'
import {
  changes, events, experiments, logs, move, nodes, now, put, send, start, tell, watchers, world,
} from './double-cluster.ts' // prettier-ignore
import { demoSpec, images, metrics, pastExperiments } from './double-data.ts'

const dist = process.env['CONSOLE_DIST'] ?? path.join(import.meta.dirname, '../dist')
const csp =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data: blob:; font-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type Handler = (at: {
  query: URLSearchParams
  parts: string[]
  body: Buffer
  response: http.ServerResponse
}) => unknown
const page = (items: unknown[]) => ({ items, next_page_token: null, resource_version: world.version })
const fail = (code: ProblemCode, detail?: string): never => {
  throw new ProblemError(code, detail)
}
const get = (id = '') => experiments.get(id) ?? fail('not_found', `no experiment ${id}`)
const strong = (query: URLSearchParams) =>
  world.quorum || query.get('consistency') === 'local' || fail('no_leader')
const open = (response: http.ServerResponse) =>
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).flushHeaders()

const handlers: Record<string, Handler> = {
  'GET version': () => ({
    product: 'submarine-docker-cluster',
    version: '0.1.0',
    api: 'v2',
    cluster: { id: 'c-7f3a91d2', name: 'vision-lab' },
    node: { id: 'node-1', name: 'gpu-01' },
    ca_sha256: createHash('sha256').update('double').digest('hex'),
    demo: true,
  }),
  'GET ca.pem': () => Buffer.from('-----BEGIN CERTIFICATE-----\n(double)\n-----END CERTIFICATE-----\n'),
  'POST session': ({ body, response }) => {
    const { user, password } = JSON.parse(body.toString()) as { user: string; password: string }
    if (password !== 'submarine') fail('bad_credentials')
    response.setHeader(
      'set-cookie',
      'submarine_session=double; HttpOnly; SameSite=Strict; Path=/',
    ).statusCode = 201
    return { user, rank: 'admin', token: 'double', expires_at: now() }
  },
  'DELETE session': ({ response }) =>
    void response.setHeader('set-cookie', 'submarine_session=; Max-Age=0; Path=/'),
  'GET me': () => ({ name: 'admin', rank: 'admin', created_at: now() }),
  'GET cluster': ({ query }) =>
    strong(query) && {
      id: 'c-7f3a91d2',
      name: 'vision-lab',
      created_at: now(),
      leader: world.quorum ? 'node-1' : null,
      term: 4,
      commit_index: world.version,
      applied_index: world.version,
      voters: 3,
      may_fail: 1,
      warnings: [],
      copy_age: world.quorum ? 0 : 12,
      members: [...nodes.values()].map((node) => ({
        member: node.member,
        node: node.id,
        name: node.name,
        address: node.address,
        role: 'voter',
        leader: world.quorum && node.id === 'node-1',
        reachable: node.liveness === 'ready',
      })),
    },
  'GET nodes': ({ query }) => strong(query) && page([...nodes.values()]),
  'GET events': () => page(events.toReversed()),
  'GET experiments': ({ query, parts }) =>
    strong(query) && (parts[1] ? get(parts[1]) : page([...experiments.values()].toReversed())),
  'POST experiments': ({ query, body, response }) => {
    const parsed = parseSpec(JSON.parse(body.toString()))
    if ('errors' in parsed) throw new ProblemError('invalid_spec', undefined, { errors: parsed.errors })
    const role = Object.values(parsed.spec.roles)[0]
    if ((role?.resources.gpu ?? 0) > 4)
      fail('never_fits', 'asks for more GPUs than any node has; the largest is gpu-01 with 4')
    const made = pastExperiments()[0]!
    const id = `exp-${Date.now().toString(36)}`
    const tasks = made.tasks.map((task) => ({
      ...task,
      id: `${id}-worker-0`,
      workload: id,
      state: 'Queued' as const,
      node: null,
      runtime: null,
      isolation: null,
      attempt: 0,
      exit_code: null,
      started_at: null,
      finished_at: null,
      artifacts: null,
      log: null,
      gpus: [],
      resources: role?.resources ?? task.resources,
    }))
    const fresh: Experiment = {
      ...made,
      id,
      name: parsed.spec.name,
      description: '',
      tags: {},
      spec: parsed.spec,
      state: 'Queued',
      reason: null,
      stop_requested: false,
      created_at: now(),
      started_at: null,
      finished_at: null,
      tasks,
    }
    response.statusCode = 201
    if (query.get('dry_run') === '1') return fresh
    start(id)
    return put(fresh)
  },
  'POST experiments stop': ({ parts }) => {
    const experiment = put({ ...get(parts[1]), stop_requested: true })
    setTimeout(() => move(experiment.id, 'Stopped', { exit_code: 143 }), 1200)
    return experiment
  },
  'DELETE experiments': ({ parts }) => {
    const object = get(parts[1])
    experiments.delete(object.id)
    tell({ kind: 'experiment', type: 'DELETED', object: { ...object, resource_version: ++world.version } })
  },
  'DELETE nodes': ({ parts }) => {
    const node = nodes.get(parts[1] ?? '') ?? fail('not_found')
    if (node.tasks) fail('conflict', `${node.name} runs ${node.tasks} tasks`)
    nodes.delete(node.id)
    tell({ kind: 'node', type: 'DELETED', object: { ...node, resource_version: ++world.version } })
  },
  'GET experiments events': ({ parts }) => page(events.filter(({ subject }) => subject.id === parts[1])),
  'GET experiments metrics': ({ parts }) => metrics(get(parts[1])),
  'GET experiments artifacts': ({ parts, response }) => {
    const { tasks, id } = get(parts[1])
    if (parts[3])
      return void response
        .setHeader('content-disposition', 'attachment')
        .end(`${parts.slice(4).join('/')} of ${id}\n`)
    const one = (path: string, bytes: number, copies: number) => ({
      task: tasks[0]?.id,
      attempt: 1,
      path,
      bytes,
      sha256: createHash('sha256').update(path).digest('hex'),
      copies,
    })
    return page(
      tasks[0]?.artifacts
        ? [
            one('model.json', 18_764, 2),
            one('plots/confusion-matrix.svg', 5211, 2),
            one('metrics.csv', 1716, 1),
          ]
        : [],
    )
  },
  'GET experiments logs': ({ parts, response }) => {
    const { id } = get(parts[1])
    let offset = -1
    open(response)
    const flush = () => {
      for (const line of logs.get(id) ?? []) if (line.offset > offset) send(response, line)
      offset = logs.get(id)?.at(-1)?.offset ?? offset
      if (isFinal(experiments.get(id)?.state ?? 'Failed')) response.end()
    }
    flush()
    const timer = setInterval(flush, 200)
    response.on('close', () => clearInterval(timer))
  },
  'GET images': () => page(images([...nodes.values()])),
  'GET registries': () => page([]),
  'GET image-policy': () => ({ engine_unused_seconds: 28 * 86_400, cluster_unused_seconds: null }),
  'POST blobs': ({ body, response }) => {
    response.statusCode = 201
    return { sha256: createHash('sha256').update(body).digest('hex'), bytes: body.length, copies: 2 }
  },
  'GET watch': ({ query, response }) => {
    const after = Number(query.get('resource_version') ?? world.version)
    if (after < world.oldest) fail('watch_expired')
    open(response)
    for (const change of changes) if (change.version > after) send(response, change.event, change.version)
    watchers.add(response)
    response.on('close', () => watchers.delete(response))
  },
}

async function answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://double')
  const body = Buffer.concat((await request.toArray()) as Buffer[])
  response.setHeader('content-security-policy', csp)
  if (url.pathname === '/double') {
    if (url.searchParams.has('quorum')) world.quorum = url.searchParams.get('quorum') === '1'
    if (url.searchParams.has('expire')) world.oldest = world.version
    const silent = nodes.get(url.searchParams.get('silent') ?? '')
    if (silent) nodes.set(silent.id, { ...silent, liveness: 'unreachable', silent_ms: 74_000 })
    if (url.searchParams.has('cut')) for (const watcher of watchers) watcher.destroy()
    return void response.end()
  }
  if (url.pathname === '/demo.json') return void response.end(JSON.stringify({ spec: demoSpec }))
  if (!url.pathname.startsWith('/api/v2/')) return serveFile(url.pathname, response)
  const parts = url.pathname.slice('/api/v2/'.length).split('/')
  const handler = handlers[[request.method, parts[0], parts[2]].filter(Boolean).join(' ')]
  try {
    const isPublic = /^(version|session|ca\.pem)$/.test(parts[0] ?? '')
    if (!isPublic && !request.headers.cookie?.includes('submarine_session=double')) fail('unauthenticated')
    const reply = handler ? handler({ query: url.searchParams, parts, body, response }) : fail('not_found')
    if (response.headersSent || response.writableEnded) return
    if (reply === undefined) response.writeHead(204).end()
    else
      response
        .setHeader('content-type', 'application/json')
        .end(Buffer.isBuffer(reply) ? reply : JSON.stringify(reply))
  } catch (error) {
    const problem = error instanceof ProblemError ? error : new ProblemError('internal', String(error))
    response
      .writeHead(problem.status, { 'content-type': 'application/problem+json' })
      .end(JSON.stringify(problem.toProblem('req-1')))
  }
}

async function serveFile(name: string, response: http.ServerResponse): Promise<void> {
  const types: Record<string, string> = {
    '.js': 'text/javascript',
    '.css': 'text/css',
    '.svg': 'image/svg+xml',
    '.woff2': 'font/woff2',
  }
  const content = await readFile(path.join(dist, path.normalize(name))).catch(() => undefined)
  response.setHeader('content-type', content ? (types[path.extname(name)] ?? 'text/html') : 'text/html')
  response.end(content ?? (await readFile(path.join(dist, 'index.html'))))
}

const port = Number(process.argv[2] ?? 7460)
http
  .createServer((request, response) => void answer(request, response))
  .listen(port, '127.0.0.1', () => {
    console.log(`agent double at http://127.0.0.1:${port} (admin / submarine)`)
    start('exp-live')
  })
