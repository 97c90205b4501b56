import { z } from 'zod'
import { ProblemError } from '../../contract/index.ts'

export interface PageQuery {
  readonly page_size: number
  readonly page_token?: string | undefined
}

export interface Page<T> {
  items: T[]
  next_page_token: string | null
  /** Version of the first page: a watch from there misses nothing that changed between the pages. */
  resource_version: number
}

/** Page tokens are opaque to callers and hold the key to go on after, never an offset. */
export function writeToken(cursor: object): string {
  return Buffer.from(JSON.stringify(cursor)).toString('base64url')
}

export function readToken<T extends z.ZodType>(shape: T, token: string | undefined): z.output<T> | undefined {
  if (token === undefined) return undefined
  const parsed = shape.safeParse(parseJson(Buffer.from(token, 'base64url').toString('utf8')))
  if (parsed.success) return parsed.data
  throw new ProblemError('invalid_request', 'the page token is not one of this list', {
    errors: [{ pointer: '/query/page_token', message: 'expected the next_page_token of an earlier page' }],
  })
}

const Position = z.strictObject({ version: z.int().min(0), after: z.string().max(300) })

/** A page of `rows`, which are sorted by `keyOf`, ascending or descending, without two equal keys. */
export function pageOf<R, T>(
  rows: readonly R[],
  query: PageQuery,
  order: 'ascending' | 'descending',
  keyOf: (row: R) => string,
  view: (row: R) => T,
  version: number,
): Page<T> {
  const position = readToken(Position, query.page_token)
  const begin = position ? firstAfter(rows, position.after, order, keyOf) : 0
  const items = rows.slice(begin, begin + query.page_size)
  const last = items.at(-1)
  const resource_version = position?.version ?? version
  const more = last !== undefined && begin + items.length < rows.length
  return {
    items: items.map(view),
    next_page_token: more ? writeToken({ version: resource_version, after: keyOf(last) }) : null,
    resource_version,
  }
}

function firstAfter<R>(
  rows: readonly R[],
  after: string,
  order: 'ascending' | 'descending',
  keyOf: (row: R) => string,
): number {
  let low = 0
  let high = rows.length
  while (low < high) {
    const middle = (low + high) >> 1
    const key = keyOf(rows[middle] as R)
    if (order === 'ascending' ? key <= after : key >= after) low = middle + 1
    else high = middle
  }
  return low
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
