import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { isFinal, MetricValue, ProblemError, Time } from '../../contract/index.ts'
import type { Actor, MetricBatch, MetricSeries } from '../../contract/index.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { ExperimentRow, TaskRow } from '../cluster/state.ts'
import type { MetricRecord } from '../store/store.ts'
import { experimentFor, nodesToAsk, taskOf, tasksOf } from './access.ts'
import type { ServiceDeps } from './context.ts'
import { parseJson } from './paging.ts'
import { Thinner } from './thin.ts'

export interface MetricService {
  log(actor: Actor, ref: string, batch: MetricBatch): Promise<{ accepted: number; copies: number }>
  read(
    actor: Actor,
    ref: string,
    query: { key?: string | undefined; max_points: number },
  ): Promise<{ series: MetricSeries[] }>
}

/** Points on their way to the node that runs the attempt: only there is the stream written. */
const Append = z.strictObject({
  task: z.string().max(200),
  attempt: z.int().min(1),
  points: z
    .array(z.strictObject({ k: z.string().max(250), v: MetricValue, n: z.int(), t: Time }))
    .min(1)
    .max(1000),
})
type Append = z.infer<typeof Append>
const Appended = z.object({ accepted: z.int(), copies: z.int() })
const path = '/metrics-append'
/** Two copies are written before the answer, and a disk may be slow. */
const appendTimeoutMs = 20_000
const mostBytes = 4 * 1024 * 1024

export function createMetrics(deps: ServiceDeps): MetricService {
  const { cluster, now = Date.now } = deps
  cluster.peers.serve(path, (_from, request, response) => answerPeer(deps, request, response))
  return {
    async log(actor, ref, { task: asked, points }) {
      const row = await experimentFor(cluster, actor, 'metric:write', ref)
      const task = fenced(actor, taskToWrite(cluster, actor, row, asked))
      const at = new Date(now()).toISOString()
      const records = points.map(({ key, value, step, time }) => ({
        k: key,
        v: value,
        n: step,
        t: time ?? at,
      }))
      const batch = { task: task.id, attempt: task.attempt, points: records }
      return task.node === cluster.self.node ? append(deps, batch) : forward(cluster, task.node ?? '', batch)
    },
    async read(actor, ref, query) {
      const row = await experimentFor(cluster, actor, 'metric:read', ref)
      const tasks = tasksOf(cluster.state(), row)
      const found = await Promise.all(tasks.map((task) => seriesOf(deps, task, query)))
      return { series: found.flat() }
    },
  }
}

function taskToWrite(cluster: Cluster, actor: Actor, row: ExperimentRow, asked: string | undefined): TaskRow {
  const ref = asked ?? (actor.kind === 'task' ? actor.task : row.tasks[0])
  const task = taskOf(cluster.state(), row, ref ?? '')
  if (actor.kind === 'task' && task.id !== actor.task)
    throw new ProblemError('forbidden', 'a task reports its own metrics only')
  return task
}

/** Only the newest attempt writes, and only while its streams are open. */
function fenced(actor: Actor, task: TaskRow): TaskRow {
  if (actor.kind === 'task' && actor.attempt !== task.attempt)
    throw new ProblemError('stale_attempt', `${task.id} is at attempt ${task.attempt}`)
  if (isFinal(task.state)) throw new ProblemError('conflict', `${task.id} has ended: ${task.state}`)
  if (!task.node || task.attempt === 0) throw new ProblemError('conflict', `${task.id} has not started yet`)
  return task
}

async function append(
  deps: ServiceDeps,
  { task, attempt, points }: Append,
): Promise<z.infer<typeof Appended>> {
  deps.space.check()
  const records: readonly MetricRecord[] = points
  const { copies } = await deps.streams.append({ task, attempt, kind: 'metrics' }, records, 2)
  return { accepted: points.length, copies }
}

async function forward(cluster: Cluster, node: string, batch: Append): Promise<z.infer<typeof Appended>> {
  const { body } = await cluster.peers.request(node, {
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(batch),
    timeoutMs: appendTimeoutMs,
  })
  return Appended.parse(parseJson(await textOf(body)))
}

/** The other end of `forward`: this node checks by its own replica that it runs this very attempt. */
async function answerPeer(
  deps: ServiceDeps,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const parsed = Append.safeParse(parseJson(await textOf(request)))
  if (!parsed.success) throw new ProblemError('invalid_request', 'not a batch of metric points')
  const { task, attempt } = parsed.data
  const { cluster } = deps
  if ((cluster.state().tasks.get(task)?.attempt ?? 0) < attempt) await cluster.barrier()
  const row = cluster.state().tasks.get(task)
  if (row?.attempt !== attempt || row.node !== cluster.self.node)
    throw new ProblemError('stale_attempt', `attempt ${attempt} of ${task} does not run here`)
  const answer = await append(deps, parsed.data)
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}

async function textOf(body: Readable): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of body as AsyncIterable<Buffer>) {
    size += part.length
    if (size > mostBytes) throw new ProblemError('too_large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

async function seriesOf(
  { cluster, streams }: ServiceDeps,
  task: TaskRow,
  { key, max_points }: { key?: string | undefined; max_points: number },
): Promise<MetricSeries[]> {
  if (task.attempt === 0) return []
  const nodes = nodesToAsk(cluster.state(), task, task.metrics?.holders ?? [])
  const byKey = new Map<string, Thinner>()
  try {
    const from = { task: task.id, attempt: task.attempt, kind: 'metrics' } as const
    for await (const { value } of streams.read(from, { from: 0, follow: false, nodes })) {
      const { k, v, n, t } = value as MetricRecord
      if (key !== undefined && k !== key) continue
      const thinner = byKey.get(k) ?? new Thinner(max_points)
      byKey.set(k, thinner)
      thinner.add([n, v, t])
    }
  } catch (error) {
    // Nothing was logged yet.
    if (!(error instanceof ProblemError && error.code === 'not_found')) throw error
  }
  return [...byKey].map(([name, thinner]) => ({ key: name, task: task.id, points: thinner.points() }))
}
