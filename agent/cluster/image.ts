import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { Map as ImmutableMap } from 'immutable'
import type { StoredEvent } from '../store/state-db.ts'
import type { State, TableName } from './state.ts'
import { emptyState, tableNames } from './transaction.ts'

/** One line of an image of the state: a row or an event. */
export type ImageLine = { readonly table: string; readonly key: string; readonly row: object } | StoredEvent

/** The whole state as lines of JSON: all rows, then all events, oldest first. */
export async function* imageLines(
  state: State,
  events: AsyncIterable<StoredEvent> | Iterable<StoredEvent>,
): AsyncGenerator<Uint8Array> {
  for (const table of tableNames)
    for (const [key, row] of state[table] as ImmutableMap<string, object>) yield toLine({ table, key, row })
  for await (const stored of events) yield toLine(stored)
}

const toLine = (line: ImageLine) => Buffer.from(JSON.stringify(line) + '\n')

export async function* readImage(data: AsyncIterable<Uint8Array>): AsyncGenerator<ImageLine> {
  for await (const line of createInterface({ input: Readable.from(data), crlfDelay: Infinity }))
    yield JSON.parse(line) as ImageLine
}

/** The rows of an image, put together again. Rows of tables that nobody knows (any more) are left out. */
export class Tables {
  readonly #tables = new Map<string, [string, object][]>(tableNames.map((name) => [name, []]))

  add(table: string, key: string, row: object): void {
    this.#tables.get(table)?.push([key, row])
  }

  state(): State {
    const tables = [...this.#tables].map(([name, rows]) => [name as TableName, ImmutableMap(rows)])
    return { ...emptyState, ...(Object.fromEntries(tables) as Partial<State>) }
  }
}
