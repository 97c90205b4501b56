import type { Readable } from 'node:stream'
import { z } from 'zod'
import {
  type Actor,
  type Artifact,
  ArtifactPath,
  fieldErrors,
  ProblemError,
  Sha256,
} from '../../contract/index.ts'
import type { Kept, TaskRow } from '../cluster/state.ts'
import { experimentFor, taskOf, tasksOf } from './access.ts'
import type { ServiceDeps } from './context.ts'
import { linesOf } from './lines.ts'
import { type Page, type PageQuery, parseJson, readToken, writeToken } from './paging.ts'

export interface ArtifactFile {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
  /** The bytes from `start` to `end`, both included; all of them without a range. */
  open(range?: { readonly start: number; readonly end: number }): Promise<Readable>
}

export interface ArtifactService {
  list(actor: Actor, ref: string, query: PageQuery & { task?: string | undefined }): Promise<Page<Artifact>>
  file(actor: Actor, ref: string, task: string, path: string): Promise<ArtifactFile>
}

/** Where a page ended: which task's manifest, of which attempt's digest, after which byte. */
const Position = z.strictObject({
  version: z.int().min(0),
  task: z.int().min(0),
  manifest: Sha256,
  offset: z.int().min(0),
})
type Position = z.infer<typeof Position>

const Line = z.object({ path: z.string(), bytes: z.int(), sha256: Sha256 })

export function createArtifacts(deps: ServiceDeps): ArtifactService {
  const { cluster, blobs } = deps
  return {
    async list(actor, ref, query) {
      const row = await experimentFor(cluster, actor, 'artifact:read', ref)
      const state = cluster.state()
      const tasks = query.task === undefined ? tasksOf(state, row) : [taskOf(state, row, query.task)]
      return page(deps, tasks, query)
    },
    async file(actor, ref, task, path) {
      const checked = ArtifactPath.safeParse(path)
      if (!checked.success)
        throw new ProblemError('invalid_request', undefined, {
          errors: fieldErrors(checked.error, ['path', 'path']),
        })
      const row = await experimentFor(cluster, actor, 'artifact:read', ref)
      const kept = taskOf(cluster.state(), row, task).artifacts
      const line = kept && (await lineFor(deps, kept, path))
      if (!line) throw new ProblemError('not_found', `${row.name} has kept no file ${path} of ${task}`)
      const open: ArtifactFile['open'] = async (range) =>
        (await blobs.open(line.sha256, kept.holders, range)).body
      return { ...line, open }
    },
  }
}

/** Read manifests only as far as the page goes: a hundred thousand files cost no more memory than ten. */
async function page(deps: ServiceDeps, tasks: readonly TaskRow[], query: PageQuery): Promise<Page<Artifact>> {
  const begin = readToken(Position, query.page_token)
  const version = begin?.version ?? deps.cluster.status().applied
  const items: Artifact[] = []
  let reached: Position | undefined
  for (let at = begin?.task ?? 0; at < tasks.length; at++) {
    const task = tasks[at]
    const kept = task?.artifacts
    if (!task || !kept?.files) continue
    const from = at === begin?.task ? begin : undefined
    if (from && from.manifest !== kept.sha256)
      throw new ProblemError('invalid_request', 'the files were replaced by those of a newer attempt', {
        hint: 'List them from the beginning.',
      })
    for await (const { line, next } of manifest(deps, kept, from?.offset ?? 0)) {
      // One more than the page: only then is there a next one.
      if (items.length === query.page_size)
        return { items, next_page_token: writeToken(reached ?? {}), resource_version: version }
      items.push({ task: task.id, attempt: task.attempt, ...line, copies: kept.holders.length })
      reached = { version, task: at, manifest: kept.sha256, offset: next }
    }
  }
  return { items, next_page_token: null, resource_version: version }
}

async function lineFor(
  deps: ServiceDeps,
  kept: Kept,
  path: string,
): Promise<z.infer<typeof Line> | undefined> {
  for await (const { line } of manifest(deps, kept, 0)) if (line.path === path) return line
  return undefined
}

async function* manifest(
  { blobs }: ServiceDeps,
  { sha256, holders }: Kept,
  offset: number,
): AsyncGenerator<{ line: z.infer<typeof Line>; next: number }> {
  const { body } = await blobs.open(sha256, holders)
  try {
    for await (const { text, next } of linesOf(body))
      if (next > offset) yield { line: Line.parse(parseJson(text)), next }
  } finally {
    body.destroy()
  }
}
