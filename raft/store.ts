import type { LogTail } from './tail.ts'
import {
  EMPTY_CONF,
  type ConfState,
  type Entry,
  type HardState,
  type Index,
  type LogView,
  type SnapshotMeta,
  type Term,
} from './types.ts'

/** Why storage is not to be trusted or not to be had. */
export type StoreErrorCode = 'corrupt' | 'foreign' | 'missing' | 'exists' | 'locked' | 'io' | 'closed'

/** Fatal, always: after one of these nothing that the store says may be trusted, and no write may be tried again. */
export class StoreError extends Error {
  readonly code: StoreErrorCode
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StoreError'
    this.code = code
  }
}

/** What to do about data that is not as it was written. */
export const REJOIN =
  'Do not repair it: remove this member, delete its data and let it join again under a new id; the others have everything.'

/** The bytes of a snapshot, in pieces. */
export type SnapshotSource = AsyncIterable<Uint8Array>
/** A snapshot's bytes from an offset on: a transfer that broke off goes on where it was. */
export type SnapshotBytes = (from: number) => SnapshotSource
/** What an image of the state stands for. */
export type SnapshotPoint = Pick<SnapshotMeta, 'index' | 'term' | 'conf'>

/** A snapshot that stays readable. */
export interface HeldSnapshot {
  readonly meta: SnapshotMeta
  /** What is being read when it is released is read to its end. */
  readonly read: SnapshotBytes
  /** May be called again. */
  release(): Promise<void>
}

/** Durable log, hard state and newest snapshot of one member. Writes do not overlap, except those about snapshots' bytes. */
export interface LogStore extends LogView {
  /**
   * Entries replace everything from the first one's index on; all of it and `hard` in one atomic write. With `sync`,
   * durable when resolved. The view shows the entries when resolved, not before.
   */
  append(entries: readonly Entry[], hard: HardState | undefined, sync: boolean): Promise<void>
  /** Stores an image of the own state. Ignored when a newer snapshot has been installed meanwhile. */
  createSnapshot(at: SnapshotPoint, data: SnapshotSource): Promise<void>
  /**
   * Stores a snapshot's bytes durably and checks them; nothing else changes before `installSnapshot`. What came before
   * `data` failed is kept, and the next call for exactly this snapshot asks for the rest.
   */
  receiveSnapshot(meta: SnapshotMeta, data: SnapshotBytes): Promise<void>
  /** A received snapshot becomes the log's beginning and all entries go, in one durable write. */
  installSnapshot(meta: SnapshotMeta, hard: HardState | undefined): Promise<void>
  /** The bytes of the snapshot that `snapshot()` names. Fails at the end if they are not what was stored. */
  openSnapshot(): SnapshotSource
  /** The same snapshot, to be read until it is released, whatever newer ones come meanwhile. */
  holdSnapshot(): HeldSnapshot
  /** Forgets entries up to `to`, which must be covered by the snapshot. */
  compact(to: Index): Promise<void>
  /** Bytes of entries after `index`. */
  bytesAfter(index: Index): number
  close(): Promise<void>
}

/** A founding member starts as if from a snapshot of an empty state, so that later members get the founders with theirs. */
export function foundation(conf: ConfState): { hard: HardState; snapshot: SnapshotMeta | undefined } {
  if (conf.voters.length === 0) return { hard: { term: 0, vote: 0, commit: 0 }, snapshot: undefined }
  return {
    hard: { term: 1, vote: 0, commit: 1 },
    snapshot: { index: 1, term: 1, conf, bytes: 0, crc32c: 0 },
  }
}

/** The part of a store that both implementations share: answers about the log, from memory. */
export abstract class BaseStore implements LogView {
  protected tail: LogTail
  protected hard: HardState
  protected meta: SnapshotMeta | undefined

  constructor(tail: LogTail, hard: HardState, meta: SnapshotMeta | undefined) {
    this.tail = tail
    this.hard = hard
    this.meta = meta
  }

  initial(): { hard: HardState; conf: ConfState; index: Index } {
    return { hard: this.hard, conf: this.meta?.conf ?? EMPTY_CONF, index: this.meta?.index ?? 0 }
  }
  firstIndex(): Index {
    return this.tail.firstIndex
  }
  lastIndex(): Index {
    return this.tail.lastIndex
  }
  term(index: Index): Term | undefined {
    return this.tail.term(index)
  }
  entries(lo: Index, hi: Index, maxBytes: number): readonly Entry[] {
    return this.tail.slice(lo, hi, maxBytes)
  }
  snapshot(): SnapshotMeta | undefined {
    return this.meta
  }
  bytesAfter(index: Index): number {
    return this.tail.bytesAfter(index)
  }
}
