import { stripVTControlCharacters } from 'node:util'

export interface Column<T> {
  readonly title: string
  readonly cell: (item: T) => string
}

/** Left-aligned columns, two spaces between; no cell can move the cursor or colour what follows. */
export function table<T>(columns: readonly Column<T>[], items: readonly T[]): string {
  const rows = [columns.map((c) => c.title), ...items.map((item) => columns.map((c) => c.cell(item)))]
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => width(row[i] ?? ''))))
  const lines = rows.map((row) =>
    row
      .map((cell, i) => cell + ' '.repeat((widths[i] ?? 0) - width(cell)))
      .join('  ')
      .trimEnd(),
  )
  return lines.join('\n') + '\n'
}

/** `key  value` lines of one object. */
export function properties(pairs: readonly (readonly [string, string])[]): string {
  const longest = Math.max(...pairs.map(([key]) => key.length))
  return pairs.map(([key, value]) => `${key.padEnd(longest)}  ${value}`.trimEnd() + '\n').join('')
}

/** Text that others wrote, made safe to print within a table. */
export const plain = (text: string): string =>
  stripVTControlCharacters(text).replaceAll(
    /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    ' ',
  )

/** `1 file`, `2 files`. */
export const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`

const width = (cell: string) => [...stripVTControlCharacters(cell)].length
