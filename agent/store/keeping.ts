import { isFinal } from '../../contract/index.ts'
import { blobsOf, hexOf } from '../cluster/images.ts'
import type { ImageRow, State, TaskRow } from '../cluster/state.ts'
import type { HeldBlob } from './blobs.ts'
import type { HeldStream } from './streams.ts'

/** What has too few copies, and is this agent's to copy. */
export interface Repair {
  readonly task: string
  readonly attempt: number
  readonly kind: 'log' | 'metrics' | 'artifacts'
  readonly sha256: string
  /** Holders that are still in the cluster. */
  readonly holders: readonly string[]
}

const kinds = ['log', 'metrics', 'artifacts'] as const
const hour = 60 * 60_000

/** How long what nobody refers to is left alone, ms. */
export const grace = {
  /** A stream, or a file that was referred to and no longer is. */
  released: hour,
  /** A file that was never seen referred to: its attempt may still be collecting, its upload still copying. */
  unknown: 24 * hour,
}

/** The holders whose copies exist: a node that was removed took its copies along. */
function present(state: State, holders: readonly string[]): string[] {
  return holders.filter((node) => state.nodes.has(node))
}

/** Only the last holder repairs, so no two nodes do it at once. */
function isLastHolder(state: State, self: string, holders: readonly string[]): boolean {
  return state.nodes.size > 1 && holders.length === 1 && holders[0] === self
}

export function repairs(state: State, self: string): Repair[] {
  return [...state.tasks.values()].flatMap((row) =>
    endedOf(row).flatMap((ended) =>
      kinds.flatMap((kind) => {
        const kept = ended[kind]
        const holders = present(state, kept?.holders ?? [])
        if (!kept || !isLastHolder(state, self, holders)) return []
        return [{ task: row.id, attempt: ended.attempt, kind, sha256: kept.sha256, holders }]
      }),
    ),
  )
}

/** What was kept of each attempt that is over. */
function endedOf(
  row: TaskRow,
): (Pick<TaskRow, 'attempt'> & Partial<Pick<TaskRow, (typeof kinds)[number]>>)[] {
  return [...(row.past ?? []), ...(isFinal(row.state) ? [row] : [])]
}

/** Uploads of which this agent has the only copy. */
export function lonelyUploads(state: State, self: string): { sha256: string; bytes: number }[] {
  return [...state.blobs]
    .filter(([, row]) => isLastHolder(state, self, present(state, row.holders)))
    .map(([sha256, row]) => ({ sha256, bytes: row.bytes }))
}

/** Imported images of which this agent has the only copy. */
export function lonelyImages(state: State, self: string): ImageRow[] {
  return [...state.images.values()].filter((row) => isLastHolder(state, self, present(state, row.holders)))
}

/** Digests of images' blobs: those that this agent keeps for the cluster, and those it only had to pass on. */
export function imageBlobs(state: State, self: string): { kept: Set<string>; passing: Set<string> } {
  const kept = new Set<string>()
  const passing = new Set<string>()
  for (const row of state.images.values())
    for (const { digest } of blobsOf(row)) (row.holders.includes(self) ? kept : passing).add(hexOf(digest))
  return { kept, passing }
}

/**
 * May this copy of a stream go? Its task was deleted, or its attempt is over and its two counted copies are
 * elsewhere: this one is left of a follower that was replaced.
 */
export function isUselessStream(state: State, self: string, held: HeldStream, now: number): boolean {
  if (now - held.touched < grace.released) return false
  const row: TaskRow | undefined = state.tasks.get(held.task)
  if (!row) return true
  const kept = endedOf(row).find(({ attempt }) => attempt === held.attempt)?.[held.kind]
  if (!kept) return false
  const holders = present(state, kept.holders)
  return holders.length >= 2 && !holders.includes(self)
}

/** Digests that rows name themselves; what manifests name has to be read from them. */
export function isNamed(state: State, manifests: ReadonlySet<string>, sha256: string): boolean {
  return state.blobs.has(sha256) || manifests.has(sha256)
}

/** Each manifest with its holders. */
export function manifestsOf(state: State): Map<string, readonly string[]> {
  const manifests = new Map<string, readonly string[]>()
  for (const row of state.tasks.values())
    for (const { artifacts } of [row, ...(row.past ?? [])])
      if (artifacts) manifests.set(artifacts.sha256, artifacts.holders)
  return manifests
}

/** `released` has the time of the last touch when a file was last seen referred to: touched since, it is new again. */
export function mayBeSwept(blob: HeldBlob, released: ReadonlyMap<string, number>, now: number): boolean {
  const wait = released.get(blob.sha256) === blob.touched ? grace.released : grace.unknown
  return now - blob.touched >= wait
}
