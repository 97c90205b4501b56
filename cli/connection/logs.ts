import { setTimeout as sleep } from 'node:timers/promises'
import type { CallInput, Client } from '../../contract/client.ts'
import type { Experiment, LogLine } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { isFinal } from '../../contract/states.ts'

export interface LogQuery {
  /** Id of one task; default: all of them. */
  task?: string | undefined
  attempt?: number | undefined
  tail?: number | undefined
  since?: string | undefined
  search?: string | undefined
  follow: boolean
}
type Query = NonNullable<CallInput<'experiments.logs'>['query']>
type Position = Pick<LogLine, 'attempt' | 'offset'>

/**
 * The log lines of an experiment, each once, whatever agents die meanwhile: a broken stream is opened again where it
 * broke, and what was already given is recognised by its offset. Following ends when every task has.
 */
export async function* readLogs(
  client: Client,
  experiment: Experiment,
  query: LogQuery,
  signal?: AbortSignal,
): AsyncGenerator<LogLine> {
  const params = { experiment: experiment.id }
  const seen = new Map<string, Position>()
  const abort = signal ? { signal } : {}
  let now = experiment
  let whole = true
  for (let pauses = 0; ;) {
    const overBefore = !query.follow || isOver(now, query.task)
    const input = { params, query: nextQuery(query, now, seen, whole), ...abort }
    whole = false
    try {
      for await (const { data } of client.events('experiments.logs', input)) {
        if (!isNew(seen, data)) continue
        seen.set(data.task, { attempt: data.attempt, offset: data.offset })
        pauses = 0
        yield data
      }
      whole = true
    } catch (error) {
      signal?.throwIfAborted()
      if (!mayPass(error, overBefore) || pauses > 20) throw error
    }
    // The state was final before the stream began, so the stream held the last line.
    if (whole && overBefore) return
    await sleep(Math.min(100 * 2 ** pauses++, 1000), undefined, abort)
    if (query.follow) now = await client.call('experiments.get', { params, ...abort })
    // A log that stays silent is no failure while its task lives.
    if (!isOver(now, query.task)) pauses = Math.min(pauses, 4)
  }
}

function isOver(experiment: Experiment, task: string | undefined): boolean {
  const tasks = experiment.tasks.filter((t) => task === undefined || t.id === task)
  return tasks.every((t) => isFinal(t.state))
}

/**
 * One task resumes at its offset; several are read again from the start, and what was seen is skipped. A newer attempt
 * is turned to only when the older one was read to its end.
 */
function nextQuery(query: LogQuery, now: Experiment, seen: Map<string, Position>, whole: boolean): Query {
  const { tail, follow, ...rest } = query
  const base = { ...rest, follow: follow ? ('1' as const) : ('0' as const) }
  if (seen.size === 0) return { ...base, ...(tail === undefined ? {} : { tail }) }
  const only = query.task ?? (now.tasks.length === 1 ? now.tasks[0]?.id : undefined)
  const position = only === undefined ? undefined : seen.get(only)
  if (only === undefined || !position) return base
  const newest = now.tasks.find((t) => t.id === only)?.attempt ?? 0
  if (whole && query.attempt === undefined && newest > position.attempt) return base
  return { ...base, task: only, attempt: position.attempt, offset: position.offset }
}

function isNew(seen: Map<string, Position>, line: LogLine): boolean {
  const last = seen.get(line.task)
  if (!last || line.attempt > last.attempt) return true
  return line.attempt === last.attempt && line.offset > last.offset
}

/** Broken connections pass; so does an unreachable node while its task may still come back. */
function mayPass(error: unknown, over: boolean): boolean {
  if (!(error instanceof ProblemError)) return true
  return !over && (error.code === 'node_unreachable' || error.code === 'outcome_unknown')
}
