import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Kept } from '../../cluster/state.ts'
import type { Blobs, Streams } from '../../store/store.ts'
import { attemptKey } from '../key.ts'
import { rfc3339 } from '../log/time.ts'
import { absent } from '../files.ts'
import { collect } from './collect.ts'
import type { AttemptFolders } from './folders.ts'
import { stat } from 'node:fs/promises'

export interface FinishOptions {
  readonly blobs: Pick<Blobs, 'put' | 'replicate'>
  readonly streams: Pick<Streams, 'append' | 'seal' | 'size'>
  readonly folders: AttemptFolders
  readonly node: string
  /** For files that exist for a moment. */
  readonly scratch: string
  readonly log: Pick<Logger, 'warn'>
  /** How long a second node may be waited for, ms, before what one node holds is reported. */
  readonly copyMs?: number
  /** How long to try again when output cannot be kept (a full disk), ms. */
  readonly patienceMs?: number
  readonly retryMs?: number
  /** What else people should find in its log. */
  readonly notes?: readonly string[]
}

export interface Finished {
  readonly artifacts: Kept | null
  readonly log: Kept | null
  readonly metrics: Kept | null
  /** Set when the output could not be kept: where it lies on this host, and why. */
  readonly rescued: { readonly folder: string; readonly why: string } | null
}

/** Keep what an ended attempt left: its files, its log and its metrics, on two nodes where there are two. */
export async function finish(
  task: string,
  attempt: number,
  options: FinishOptions,
  signal: AbortSignal,
): Promise<Finished> {
  await note(task, attempt, options.notes ?? [], options)
  // Nobody gets its place before all is kept, so what can be done at once is.
  const [output, metrics] = await Promise.all([
    keepOutput(task, attempt, options, signal),
    seal({ task, attempt, kind: 'metrics' }, options, signal),
  ])
  return {
    artifacts: output.kept,
    log: await seal({ task, attempt, kind: 'log' }, options, signal),
    metrics,
    rescued: output.rescued,
  }
}

async function keepOutput(task: string, attempt: number, options: FinishOptions, signal: AbortSignal) {
  const { blobs, folders, node, scratch, log, copyMs = 30_000, retryMs = 5000 } = options
  const folder = folders.of(task, attempt).output
  if (!(await stat(folder).catch(absent))) return { kept: null, rescued: null }
  const draft = path.join(scratch, `${attemptKey(task, attempt)}.manifest`)
  for (const deadline = Date.now() + (options.patienceMs ?? 300_000); ;) {
    signal.throwIfAborted()
    try {
      const collected = await collect(folder, { blobs, node, draft, patienceMs: copyMs, signal })
      await note(task, attempt, collected.notes, options)
      return { kept: collected.kept, rescued: null }
    } catch (error) {
      signal.throwIfAborted()
      log.warn({ err: error, task }, 'the output cannot be kept just now; trying again')
      if (Date.now() > deadline) {
        const why = error instanceof Error ? error.message : String(error)
        return { kept: null, rescued: { folder: await folders.rescue(task, attempt), why } }
      }
    }
    await delay(retryMs, undefined, { signal })
  }
}

/** What was left out is said where people look when they miss it. */
async function note(
  task: string,
  attempt: number,
  notes: readonly string[],
  { streams, log }: FinishOptions,
): Promise<void> {
  if (notes.length === 0) return
  const t = rfc3339(BigInt(Date.now()) * 1_000_000n)
  const records = notes.map((text) => ({ t, s: 'e' as const, l: `[submarine] ${text}` }))
  await streams
    .append({ task, attempt, kind: 'log' }, records, 1)
    .catch((error: unknown) => log.warn({ err: error, task }, 'could not note what was not kept'))
}

async function seal(
  key: Parameters<Streams['seal']>[0],
  { streams, log, copyMs = 30_000 }: FinishOptions,
  signal: AbortSignal,
): Promise<Kept | null> {
  if ((await streams.size(key)) === undefined) return null
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(copyMs)])
    const { sha256, bytes, holders } = await streams.seal(key, patience)
    return { files: 1, bytes, sha256, holders }
  } catch (error) {
    signal.throwIfAborted()
    log.warn({ err: error, task: key.task, kind: key.kind }, 'could not be sealed')
    return null
  }
}
