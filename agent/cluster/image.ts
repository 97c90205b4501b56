import { Map as ImmutableMap } from 'immutable'
import type { History } from '../store/state-db.ts'
import type { State, TableName } from './state.ts'
import { emptyState, tableNames } from './transaction.ts'

/** One line of an image of the state: a row, an event or a record of the audit log. */
export type ImageLine = { readonly table: string; readonly key: string; readonly row: object } | History

/** Large enough that the steps between pieces cost nothing, small enough that none of them takes long. */
const pieceLength = 64 << 10

/** The whole state as lines of JSON: all rows, then what happened, oldest first. In pieces that hold many lines. */
export async function* imageLines(
  state: State,
  history: AsyncIterable<History> | Iterable<History>,
): AsyncGenerator<Uint8Array> {
  let piece = ''
  for await (const line of linesOf(state, history)) {
    piece += JSON.stringify(line) + '\n'
    if (piece.length < pieceLength) continue
    yield Buffer.from(piece)
    piece = ''
  }
  if (piece) yield Buffer.from(piece)
}

async function* linesOf(
  state: State,
  history: AsyncIterable<History> | Iterable<History>,
): AsyncGenerator<ImageLine> {
  for (const table of tableNames)
    for (const [key, row] of state[table] as ImmutableMap<string, object>) yield { table, key, row }
  yield* history
}

export async function* readImage(data: AsyncIterable<Uint8Array>): AsyncGenerator<ImageLine> {
  let begun: Uint8Array[] = []
  for await (const piece of data) {
    let from = 0
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      yield parse([...begun, piece.subarray(from, end)])
      begun = []
      from = end + 1
    }
    if (from < piece.length) begun.push(piece.subarray(from))
  }
  if (begun.length) yield parse(begun)
}

const parse = (line: Uint8Array[]) => JSON.parse(Buffer.concat(line).toString()) as ImageLine

/**
 * The rows of an image, put together again. Rows of tables that nobody knows (any more) are left out. The tables grow
 * row by row: a large one made at once would hold up everything else.
 */
export class Tables {
  readonly #tables = new Map(tableNames.map((name) => [name as string, emptyTable()]))

  add(table: string, key: string, row: object): void {
    this.#tables.get(table)?.set(key, row)
  }

  state(): State {
    const tables = [...this.#tables].map(([name, rows]) => [name as TableName, rows.asImmutable()])
    return { ...emptyState, ...(Object.fromEntries(tables) as Partial<State>) }
  }
}

const emptyTable = () => ImmutableMap<string, object>().asMutable()
