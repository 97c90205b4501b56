import { z } from 'zod'

/** The known word that was probably meant: a slip or two away, fewer in short words; two letters swapped are one slip. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Infinity
  for (const one of known) {
    const most = Math.min(2, Math.floor(Math.min(word.length, one.length) / 3))
    if (Math.abs(word.length - one.length) > most) continue
    const slips = distance(word.toLowerCase(), one.toLowerCase())
    if (slips > most || slips >= least) continue
    best = one
    least = slips
  }
  return best
}

/** Optimal string alignment: insertions, deletions, other letters, and neighbours swapped. */
function distance(a: string, b: string): number {
  let [before, row]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const ways = [at(row, j) + 1, at(next, j - 1) + 1, at(row, j - 1) + (same ? 0 : 1)]
      next.push(Math.min(...ways, ...(swapped ? [at(before, j - 2) + 1] : [])))
    }
    before = row
    row = next
  }
  return at(row, b.length)
}

const at = (row: readonly number[], index: number): number => row[index] ?? Infinity

/** Names of the fields that an object at the path may have by the schema; several where it is one of several kinds. */
export function fieldsAt(schema: unknown, path: readonly PropertyKey[]): string[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodNullable)
    return fieldsAt(schema.unwrap(), path)
  if (schema instanceof z.ZodPipe) return fieldsAt(schema.in, path)
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => fieldsAt(option, path))
  const [first, ...rest] = path
  if (schema instanceof z.ZodObject)
    return first === undefined ? Object.keys(schema.shape) : fieldsAt(schema.shape[String(first)], rest)
  if (first === undefined) return []
  if (schema instanceof z.ZodRecord) return fieldsAt(schema.valueType, rest)
  if (schema instanceof z.ZodArray) return fieldsAt(schema.element, rest)
  return []
}
