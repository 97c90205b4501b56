import { decodeConfChange } from './codec.ts'
import { applyConfChange } from './confchange.ts'
import { crc32c } from './crc32c.ts'
import type { StateMachine } from './driver-api.ts'
import { openState } from './opening.ts'
import { withRows, type SessionRow } from './sessions.ts'
import type { LogStore, SnapshotPoint } from './store.ts'
import { RaftError, type ConfState, type Entry, type Index, type LogView, type Term } from './types.ts'

const READ_BYTES = 4 << 20

/** Where a log ends when all of it counts. */
export interface Replayed {
  readonly index: Index
  readonly term: Term
  /** What this member knew to be committed; whether entries after it were acknowledged is not known here. */
  readonly commit: Index
  /** With every change of members that stands in the log. */
  readonly conf: ConfState
}

/**
 * Applies everything in the log, committed or not: for a member that outlived the majority of its group and is to found
 * a new one. What it cannot have is what only the others acknowledged. Neither log nor state machine's storage is
 * written to, except that a state that was lost is restored from the snapshot.
 */
export async function replayAll(o: { store: LogStore; stateMachine: StateMachine }): Promise<Replayed> {
  const { store, stateMachine } = o
  const { sessions, applied } = await openState(o)
  const { hard, conf: first, index: begin } = store.initial()
  let conf = first
  for (const e of entriesAfter(store, begin))
    if (e.kind === 'config') conf = applyConfChange(conf, decodeConfChange(e.data))
  for (const e of entriesAfter(store, applied))
    if (e.kind !== 'config' && e.data.length > 0)
      sessions.apply(e, (data) => stateMachine.apply({ index: e.index, term: e.term, data }))
  const index = store.lastIndex()
  return { index, term: Math.max(hard.term, store.term(index) ?? 0), commit: hard.commit, conf }
}

function* entriesAfter(store: LogView, index: Index): Generator<Entry> {
  const end = store.lastIndex() + 1
  for (let next = index + 1; next < end;) {
    const entries = store.entries(next, end, READ_BYTES)
    if (entries.length === 0) throw new RaftError('dropped', `entry ${next} is not in the log`)
    yield* entries
    next += entries.length
  }
}

/**
 * Makes a store that was just created, with an empty configuration, begin with this state at this index: the first
 * member of a new group opens it, and those that join get the state from there. `image` is read twice.
 */
export async function beginWith(
  store: LogStore,
  at: SnapshotPoint,
  image: () => AsyncIterable<Uint8Array>,
  rows: readonly SessionRow[] = [],
): Promise<void> {
  let [bytes, sum] = [0, 0]
  for await (const chunk of withRows(rows, image())) {
    bytes += chunk.length
    sum = crc32c(chunk, sum)
  }
  const meta = { ...at, bytes, crc32c: sum }
  await store.receiveSnapshot(meta, (from) => after(withRows(rows, image()), from))
  await store.installSnapshot(meta, { term: at.term, vote: 0, commit: at.index })
}

async function* after(data: AsyncIterable<Uint8Array>, from: number): AsyncGenerator<Uint8Array> {
  let at = 0
  for await (const chunk of data) {
    if (at + chunk.length > from) yield chunk.subarray(Math.max(0, from - at))
    at += chunk.length
  }
}
