import type { Snippet } from 'svelte'

export interface Column<T> {
  readonly key: string
  readonly title: string
  /** The key of its column lets one snippet serve several. */
  readonly cell: Snippet<[row: T, key: string]>
  /** What to sort by; columns without it do not sort. Unknown values stand last both ways. */
  readonly by?: (row: T) => string | number | null
  /** Numbers stand at the right edge. */
  readonly end?: boolean
  /** This cell carries the row's link. */
  readonly link?: boolean
  /** Left out on narrow windows. */
  readonly wideOnly?: boolean
  /** Takes what the others leave; long texts end in an ellipsis. */
  readonly grow?: boolean
  /** The title is for assistive tools only: the cells explain themselves. */
  readonly quiet?: boolean
}

export interface Sort {
  readonly key: string
  readonly descending: boolean
}

export function sorted<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  sort: Sort | undefined,
): readonly T[] {
  const by = columns.find((column) => column.key === sort?.key)?.by
  if (!by || !sort) return rows
  const sign = sort.descending ? -1 : 1
  return rows.toSorted((left, right) => {
    const [a, b] = [by(left), by(right)]
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1
    const order =
      typeof a === 'string' && typeof b === 'string'
        ? a.localeCompare(b, 'en', { numeric: true })
        : Number(a) - Number(b)
    return order * sign
  })
}

/** A first click sorts upwards, a second downwards, a third not at all. */
export function nextSort(sort: Sort | undefined, key: string): Sort | undefined {
  if (sort?.key !== key) return { key, descending: false }
  return sort.descending ? undefined : { key, descending: true }
}
