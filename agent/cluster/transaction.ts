import { Map as ImmutableMap } from 'immutable'
import { type Event, ProblemError, type Reason } from '../../contract/index.ts'
import { followHoldings, followNominations } from './rules/holdings.ts'
import type { Rows, State, TableName } from './state.ts'

export const tableNames = [
  'cluster', 'users', 'tokens', 'joinTokens', 'nodes', 'experiments', 'tasks', 'blobs', 'idempotency',
  'queues', 'quotas', 'reservations', 'shares', 'ledger', 'prices',
  'images', 'engineImages', 'imageJobs', 'imagePolicy', 'registries', 'teams', 'auditHead',
  'formerNames', 'policy', 'identityProviders', 'secrets', 'kerberos',
] as const satisfies readonly TableName[] // prettier-ignore

export const emptyState: State = Object.fromEntries(
  tableNames.map((name) => [name, ImmutableMap()]),
) as unknown as State

/** A row as a rule writes it: its version is set by the transaction. */
type Row<T extends TableName> = Omit<Rows[T], 'resource_version'>

/** One command's changes. A rule that throws leaves the state as it was: nothing is seen before `end`. */
export class Transaction {
  readonly index: number
  /** The proposer's clock, RFC 3339: what rules use for times, so that every member writes the same. */
  readonly at: string
  readonly actor: string
  #state: State
  readonly #changed = new Map<TableName, Set<string>>()
  readonly #events: Event[] = []

  constructor(state: State, index: number, at: string, actor: string) {
    this.#state = state
    this.index = index
    this.at = at
    this.actor = actor
  }

  /** Who asked, in a sentence for people. */
  get who(): string {
    const [kind, name = ''] = this.actor.split(/:(.*)/, 2)
    if (kind === 'node') return this.get('nodes', name)?.name ?? name
    return kind === 'user' || kind === 'task' ? name : 'the cluster'
  }

  get state(): State {
    return this.#state
  }

  get<T extends TableName>(table: T, key: string): Rows[T] | undefined {
    return (this.#state[table] as ImmutableMap<string, Rows[T]>).get(key)
  }

  /** Throws ProblemError `not_found`. */
  need<T extends TableName>(table: T, key: string, what: string): Rows[T] {
    const row = this.get(table, key)
    if (!row) throw new ProblemError('not_found', `there is no ${what} ${key}`)
    return row
  }

  put<T extends TableName>(table: T, key: string, row: Row<T>): void {
    const versioned = { ...row, resource_version: this.index }
    this.#replace(table, (rows) => rows.set(key, versioned as unknown as Rows[T]), key)
  }

  delete(table: TableName, key: string): void {
    this.#replace(table, (rows) => rows.delete(key), key)
  }

  event(code: string, subject: Event['subject'], message: string, reason: Reason | null = null): void {
    const id = `${String(this.index).padStart(14, '0')}.${String(this.#events.length).padStart(3, '0')}`
    this.#events.push({ id, at: this.at, code, subject, message, reason, actor: this.actor })
  }

  end(): { state: State; changed: Map<TableName, Set<string>>; events: Event[] } {
    return { state: this.#state, changed: this.#changed, events: this.#events }
  }

  #replace<T extends TableName>(
    table: T,
    change: (rows: ImmutableMap<string, Rows[T]>) => ImmutableMap<string, Rows[T]>,
    key: string,
  ): void {
    const before = this.#state
    this.#state = { ...before, [table]: change(before[table]) }
    if (table === 'tasks') followHoldings(before, this.#state, key)
    if (table === 'experiments') followNominations(before.experiments, this.#state.experiments, key)
    const keys = this.#changed.get(table)
    if (keys) keys.add(key)
    else this.#changed.set(table, new Set([key]))
  }
}
