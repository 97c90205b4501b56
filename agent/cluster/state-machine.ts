import { type AuditRecord, type Event, type Problem, ProblemError } from '../../contract/index.ts'
import type { Applied as RaftApplied, SessionRow, StateMachine } from '../../raft/index.ts'
import type { History, StateDb, StoredEvent } from '../store/state-db.ts'
import { apply } from './apply.ts'
import { auditAfter, auditBefore } from './audit/log.ts'
import { theHead } from './audit/record.ts'
import { type AuditPage, type AuditRead, pageFrom } from './audit/read.ts'
import type { Applied, Entry } from './commands.ts'
import { DigestHistory } from './digests.ts'
import { imageLines, readImage, Tables } from './image.ts'
import type { State } from './state.ts'
import { tableNames } from './transaction.ts'

/** What `apply` answers, as it travels from the log to whoever proposed. */
type Answer = { value: unknown } | { problem: Problem }

/**
 * The cluster's replicated state under raft. `apply` is synchronous over immutable tables in memory; LevelDB follows
 * by `flush`, one batch for rows, events, sessions and the applied index, so a crash leaves a state that was real.
 */
export class ClusterStateMachine implements StateMachine {
  readonly #db: StateDb
  readonly #listeners = new Set<(applied: Applied) => void>()
  #state: State
  #applied: number
  #digests: DigestHistory
  /** Events LevelDB may not have yet; only the driver flushes, since its session rows belong in the same batch. */
  #unwritten: readonly StoredEvent[] = []
  /** Likewise, without gaps. */
  #unwrittenAudit: readonly AuditRecord[] = []
  #flushing: Promise<void> = Promise.resolve()

  private constructor(db: StateDb, state: State, applied: number) {
    this.#db = db
    this.#state = state
    this.#applied = applied
    this.#digests = new DigestHistory(applied, db.digest)
  }

  static async open(db: StateDb): Promise<ClusterStateMachine> {
    const { state, applied } = await db.load().catch(async (error: unknown) => {
      await db.close()
      throw error
    })
    return new ClusterStateMachine(db, state, applied)
  }

  get applied(): number {
    return this.#applied
  }

  get state(): State {
    return this.#state
  }

  /** Digest of all rows after the entry at `index`, which must be applied; undefined when it is too long ago. */
  digestAt(index: number): number | undefined {
    return this.#digests.at(index)
  }

  /** Called after each entry that was applied, in order; a listener must not throw. */
  onApplied(listener: (applied: Applied) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  sessions(): Promise<readonly SessionRow[]> {
    return this.#db.sessions()
  }

  apply({ index, data }: RaftApplied): Uint8Array {
    const { state, changed, events, audit, outcome } = apply(this.#state, index, decodeEntry(data))
    const before = this.#state
    this.#state = state
    this.#applied = index
    for (const [table, keys] of changed)
      for (const key of keys) this.#db.stage(`${table}!${key}`, state[table].get(key))
    this.#digests.push(index, this.#db.digest)
    if (events.length)
      this.#unwritten = [
        ...this.#unwritten,
        ...events.map((event) => ({ event, workload: workloadOf(event, before, state) })),
      ]
    if (audit.length) this.#unwrittenAudit = [...this.#unwrittenAudit, ...audit]
    for (const listener of this.#listeners) listener({ index, changed, events })
    const answer: Answer = 'problem' in outcome ? { problem: outcome.problem.toProblem() } : outcome
    return Buffer.from(JSON.stringify(answer))
  }

  flush(applied: number, sessions: readonly SessionRow[], sync: boolean): Promise<void> {
    const staged = this.#db.takeStaged()
    const events = this.#unwritten
    const audit = this.#unwrittenAudit
    this.#flushing = this.#flushing.then(async () => {
      await this.#db.write({ applied, staged, events, audit, sessions, sync })
      this.#unwrittenAudit = this.#unwrittenAudit.slice(audit.length)
      this.#unwritten = this.#unwritten.slice(events.length)
    })
    return this.#flushing
  }

  async events(query: EventQuery): Promise<Event[]> {
    const unwritten = this.#unwritten
    const written = await this.#db.events(query)
    return withUnwritten(written, unwritten, query)
  }

  /** A page of the audit log, newest first. */
  audit(read: AuditRead): Promise<AuditPage> {
    const unwritten = this.#unwrittenAudit
    return pageFrom(auditBefore(this.#db, unwritten, read), read)
  }

  /** The audit log from after a record to the newest of now, oldest first. */
  auditAfter(seq: number): AsyncIterable<AuditRecord> {
    const newest = this.#state.auditHead.get(theHead)?.seq ?? 0
    return auditAfter(this.#db, this.#unwrittenAudit, seq, newest)
  }

  /** One JSON line for each row, event and audit record. Rows are taken now; what happened never changes, so it is read later. */
  snapshot(): { index: number; data: AsyncIterable<Uint8Array> } {
    const index = this.#applied
    const history = historyOf(eventsUpTo(index, this.#unwritten, this.#db), this.auditAfter(0))
    return { index, data: imageLines(this.#state, history) }
  }

  async restore(
    index: number,
    sessions: readonly SessionRow[],
    data: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await this.#flushing
    this.#unwritten = []
    this.#unwrittenAudit = []
    await this.#db.clear()
    const tables = new Tables()
    let events: StoredEvent[] = []
    let audit: AuditRecord[] = []
    let lines = 0
    // Applied stays 0 until the last batch, so a crash half-way leaves a database that is restored again.
    const write = async (applied: number, more: readonly SessionRow[] = []) => {
      await this.#db.write({
        applied,
        staged: this.#db.takeStaged(),
        events,
        audit,
        sessions: more,
        sync: applied > 0,
      })
      events = []
      audit = []
    }
    for await (const record of readImage(data)) {
      if ('event' in record) events.push(record)
      else if ('audit' in record) audit.push(record.audit)
      else {
        tables.add(record.table, record.key, record.row)
        this.#db.stage(`${record.table}!${record.key}`, record.row)
      }
      if (++lines % 1000 === 0) await write(0)
    }
    await write(index, sessions)
    this.#state = tables.state()
    this.#applied = index
    this.#digests = new DigestHistory(index, this.#db.digest)
    const changed = new Map(tableNames.map((name) => [name, new Set(this.#state[name].keys())] as const))
    for (const listener of this.#listeners) listener({ index, changed, events: [], restored: true })
  }

  async close(): Promise<void> {
    await this.#flushing.catch(() => undefined)
    await this.#db.close()
  }
}

type EventQuery = Parameters<StateDb['events']>[0]

async function* historyOf(
  events: AsyncIterable<StoredEvent>,
  records: AsyncIterable<AuditRecord>,
): AsyncGenerator<History> {
  yield* events
  for await (const audit of records) yield { audit }
}

async function* eventsUpTo(
  index: number,
  unwritten: readonly StoredEvent[],
  db: StateDb,
): AsyncGenerator<StoredEvent> {
  let last = ''
  for await (const stored of db.allEvents(index)) {
    last = stored.event.id
    yield stored
  }
  for (const stored of unwritten) if (stored.event.id > last) yield stored
}

/** Events still on their way to LevelDB belong to the answer: whoever was acknowledged must see them. */
function withUnwritten(
  written: readonly Event[],
  unwritten: readonly StoredEvent[],
  query: EventQuery,
): Event[] {
  const known = new Set(written.map((event) => event.id))
  const more = unwritten
    .filter(
      ({ event, workload }) =>
        !query.subject || event.subject.id === query.subject || workload === query.subject,
    )
    .map(({ event }) => event)
    .filter(
      ({ id }) => !known.has(id) && (!query.after || (query.newest ? id < query.after : id > query.after)),
    )
  if (!more.length) return [...written]
  const order = query.newest ? -1 : 1
  return [...written, ...more].toSorted((a, b) => (a.id < b.id ? -order : order)).slice(0, query.limit)
}

/** The experiment an event is shown under: its own, or its task's. */
function workloadOf(event: Event, before: State, after: State): string | undefined {
  if (event.subject.kind !== 'task') return undefined
  return (after.tasks.get(event.subject.id) ?? before.tasks.get(event.subject.id))?.workload
}

export const encodeEntry = (entry: Entry): Buffer => Buffer.from(JSON.stringify(entry))
const decodeEntry = (data: Uint8Array): Entry => JSON.parse(Buffer.from(data).toString()) as Entry

/** The answer of an applied command: its value, or the ProblemError it was refused with. */
export function readAnswer(result: Uint8Array): unknown {
  const answer = JSON.parse(Buffer.from(result).toString()) as Answer
  if (!('problem' in answer)) return answer.value
  const { code, title, detail, hint, errors } = answer.problem
  throw new ProblemError(code, detail ?? title, { hint, ...(errors ? { errors } : {}) })
}
