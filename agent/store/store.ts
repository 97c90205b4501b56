import type { Readable } from 'node:stream'

/** Files by digest, kept whole on this agent's disk. */
export interface Blobs {
  /** Store a stream; durable when resolved. Throws ProblemError `invalid_request` when it is not the digest promised, `disk_low` below the floor. */
  put(source: Readable, promised?: { readonly sha256?: string }): Promise<{ sha256: string; bytes: number }>
  /** Size in bytes, undefined when it is not here. */
  size(sha256: string): Promise<number | undefined>
  read(sha256: string, range?: { readonly start: number; readonly end: number }): Readable
  delete(sha256: string): Promise<void>
  /**
   * Have at least one more live node hold it; answers every known holder, this one first. Tries until `signal` aborts
   * or no other node exists. What names the same `together` goes to the same node as long as it lives: the files of
   * one attempt, so that one other node holds them all. Default: everything from this agent.
   */
  replicate(sha256: string, signal?: AbortSignal, together?: string): Promise<string[]>
  /**
   * Read it from here or from whichever holder answers; goes on with the next one when that dies. `range` includes its
   * end; `bytes` is the size of the whole file. Throws ProblemError `node_unreachable`, `not_found`.
   */
  open(
    sha256: string,
    holders: readonly string[],
    range?: { readonly start: number; readonly end: number },
  ): Promise<{ bytes: number; body: Readable }>
}

/** An attempt's append-only streams: its log and its metric points, one JSON record per line. */
export interface StreamKey {
  readonly task: string
  readonly attempt: number
  readonly kind: 'log' | 'metrics'
}

export interface Streams {
  /**
   * Append records on the node that runs the attempt. `copies: 2` resolves when a second node has them on disk too
   * (one where only one node exists) and throws ProblemError `node_unreachable` when no second node can be had;
   * `copies: 1` resolves once written here and copies behind.
   */
  append(key: StreamKey, records: readonly object[], copies: 1 | 2): Promise<{ size: number; copies: number }>
  /** Bytes held here, undefined when nothing is. */
  size(key: StreamKey): Promise<number | undefined>
  /**
   * Records from a byte offset: from this agent, or from the first of `nodes` that has the stream. With `follow` it
   * waits for more until the stream is sealed, and goes on with another holder when one dies.
   */
  read(key: StreamKey, options: StreamRead): AsyncIterable<StreamRecord>
  /** The last record, to resume a log after a restart. */
  last(key: StreamKey): Promise<StreamRecord | undefined>
  /** No more records: fsync, copy to a second node, answer digest, size and holders. Idempotent. */
  seal(key: StreamKey, signal?: AbortSignal): Promise<{ sha256: string; bytes: number; holders: string[] }>
  delete(task: string): Promise<void>
}

export interface StreamRead {
  readonly from: number
  readonly follow: boolean
  /** Node ids that may hold it, best first; this agent's own copy is used only if it is complete or the best there is. */
  readonly nodes: readonly string[]
  /** Begin at the first record of the last `tail` records instead of `from`. */
  readonly tail?: number
  readonly signal?: AbortSignal
}

export interface StreamRecord {
  /** Byte offset just after this record: where to resume. */
  readonly next: number
  readonly value: unknown
}

/** One line of a task's output as it is kept. `t` RFC 3339 with nanoseconds, `s` o = stdout, e = stderr, `l` the text without line end. */
export interface LogRecord {
  readonly t: string
  readonly s: 'o' | 'e'
  readonly l: string
}

/** One metric point as it is kept: key, value (NaN and infinities as text), step, time. */
export interface MetricRecord {
  readonly k: string
  readonly v: number | 'NaN' | 'Infinity' | '-Infinity'
  readonly n: number
  readonly t: string
}

/** One line of an artifact manifest blob. */
export interface ManifestLine {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

/** The free-space floor: below it the agent takes no new work, long before the disk is full. */
export interface Space {
  /**
   * Throws ProblemError `disk_low` with the figures when free space is below the floor. What runs already may go on
   * below it: `share` is the part of the floor that must stay free, 1 when left out.
   */
  check(share?: number): void
  low(): boolean
}
