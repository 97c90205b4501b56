import { z } from 'zod'
import { type Actor, type LogLine, permits, ProblemError } from '../../contract/index.ts'
import type { TaskRow } from '../cluster/state.ts'
import { askedOf, experimentFor, taskOf, tasksOf } from './access.ts'
import { asOfNow } from './actors.ts'
import type { ServiceDeps } from './context.ts'
import { type Start, TaskLog } from './task-log.ts'
import { interleave, mergeInOrder } from './merge.ts'

export interface LogQuery {
  readonly task?: string | undefined
  readonly attempt?: number | undefined
  readonly tail?: number | undefined
  readonly since?: string | undefined
  readonly search?: string | undefined
  readonly offset?: number | undefined
  readonly follow: boolean
  /** The SSE id of the last line a client got: go on after it. */
  readonly lastEventId?: string | undefined
}

export interface LogEvent {
  readonly id?: string
  readonly data: LogLine
}

export interface LogService {
  /** Checks the request at once; the lines come as they are read, and end when `signal` aborts. */
  open(actor: Actor, ref: string, query: LogQuery, signal: AbortSignal): Promise<AsyncIterable<LogEvent>>
}

/** Streams open at once when a whole log is merged; a gang of a thousand is read in parts of this many. */
const together = 64
/** With more tasks an id that says where to resume each would outgrow the line. */
const mostResumable = 16

export function createLogs({ cluster, streams }: ServiceDeps): LogService {
  return {
    async open(actor, ref, query, signal) {
      const row = await experimentFor(cluster, actor, 'log:read', ref)
      const state = cluster.state()
      const tasks = query.task === undefined ? tasksOf(state, row) : [taskOf(state, row, query.task)]
      const starts = startsOf(tasks, query)
      const sources = tasks.map((task, at) =>
        new TaskLog(cluster, streams, task.id, signal).read(starts[at] ?? {}, query.follow),
      )
      const lines = query.follow ? interleave(sources, signal) : inParts(sources)
      const allowed = () => {
        const now = cluster.state()
        const found = now.experiments.get(row.id)
        return found !== undefined && permits(asOfNow(now, actor), 'log:read', askedOf(found))
      }
      return withIds(filtered(whileAllowed(lines, allowed, row.id), query), tasks, starts)
    },
  }
}

function startsOf(tasks: readonly TaskRow[], query: LogQuery): Start[] {
  const resumed = readId(query.lastEventId, tasks.length)
  if (resumed) return tasks.map((_, at) => resumed.get(at) ?? {})
  if (query.offset !== undefined && tasks.length > 1)
    throw new ProblemError('invalid_request', undefined, {
      errors: [{ pointer: '/query/offset', message: 'expected task too: an offset is of one task’s log' }],
    })
  return tasks.map((task) => {
    if (query.attempt !== undefined && query.attempt > task.attempt)
      throw new ProblemError('not_found', `${task.id} has had ${task.attempt} attempts`)
    return { attempt: query.attempt, from: query.offset, tail: query.tail }
  })
}

async function* inParts(sources: readonly AsyncIterable<LogLine>[]): AsyncGenerator<LogLine> {
  const before = (a: LogLine, b: LogLine) => instant(a.time) < instant(b.time)
  for (let at = 0; at < sources.length; at += together)
    yield* mergeInOrder(sources.slice(at, at + together), before)
}

/** A log is followed for days; whoever may read it no longer gets no further line. */
async function* whileAllowed(
  lines: AsyncIterable<LogLine>,
  allowed: () => boolean,
  id: string,
): AsyncGenerator<LogLine> {
  for await (const line of lines) {
    if (!allowed()) throw new ProblemError('not_found', `there is no experiment ${id}`)
    yield line
  }
}

async function* filtered(lines: AsyncIterable<LogLine>, query: LogQuery): AsyncGenerator<LogLine> {
  const since = query.since === undefined ? undefined : instant(query.since)
  const search = query.search?.toLowerCase()
  for await (const line of lines) {
    if (since !== undefined && instant(line.time) < since) continue
    if (search !== undefined && !line.text.toLowerCase().includes(search)) continue
    yield line
  }
}

/** Times as text that sorts: fractions of any length, in UTC. */
const instant = (time: string) => {
  const [seconds = '', fraction = ''] = time.replace(/Z$/, '').split('.')
  return `${seconds}.${fraction.padEnd(9, '0')}`
}

const Id = z
  .string()
  .max(1000)
  .regex(/^\d{1,4}:\d{1,6}:\d{1,15}(,\d{1,4}:\d{1,6}:\d{1,15})*$/)

/** `task:attempt:offset` of every task read so far: what a browser sends back when it reconnects. */
function readId(id: string | undefined, tasks: number): Map<number, Start> | undefined {
  const parsed = Id.safeParse(id)
  if (!parsed.success || tasks > mostResumable) return undefined
  return new Map(
    parsed.data.split(',').map((part) => {
      const [at = 0, attempt, from] = part.split(':').map(Number)
      return [at, { attempt, from }]
    }),
  )
}

async function* withIds(
  lines: AsyncIterable<LogLine>,
  tasks: readonly TaskRow[],
  starts: readonly Start[],
): AsyncGenerator<LogEvent> {
  const at = new Map(tasks.map((task, index) => [task.id, index]))
  const reached = new Map(
    starts.flatMap(({ attempt, from }, index) => (attempt && from ? [[index, `${attempt}:${from}`]] : [])),
  )
  for await (const data of lines) {
    if (tasks.length > mostResumable) {
      yield { data }
      continue
    }
    reached.set(at.get(data.task) ?? 0, `${data.attempt}:${data.offset}`)
    yield { id: [...reached].map(([index, position]) => `${index}:${position}`).join(','), data }
  }
}
