import { z } from 'zod'
import { checkAffinity, checkConstraint, parseAffinity, parseConstraint } from './constraint.ts'
import { parseDuration } from './duration.ts'
import type { Retries } from './scheduling.ts'
import { Affinity, Constraint, LossPolicy, PriorityClass, TaskArray } from './scheduling.ts'
import { Name } from './text.ts'

type Fault = { error: string }

/** A schema that hands its value to a parser which answers what is wrong in words. */
export function parsedBy<T extends z.ZodType, V>(schema: T, parse: (input: z.output<T>) => V | Fault) {
  return schema.transform((input, ctx): V => {
    const value = parse(input)
    if (typeof value !== 'object' || value === null || !('error' in value)) return value
    ctx.issues.push({ code: 'custom', message: value.error, input })
    return z.NEVER
  })
}

const expectedDuration = 'expected a duration such as 30 mins, 1h30m or 45s'
/** A duration; `0` too where nothing is meant by it. */
export const seconds = (least: number, most: number) =>
  parsedBy(z.union([z.string().max(100), z.number()], { error: expectedDuration }), (input) => {
    const value = /^0+$/.test(String(input).trim()) ? 0 : parseDuration(input)
    if (typeof value === 'object') return value
    return value >= least && value <= most ? value : { error: `expected ${least} to ${most} seconds` }
  })

const Text = z.string().max(4096, 'expected at most 4096 characters')

const constraintError = 'expected a constraint such as gpu.model = A100 or label.zone in (a, b)'
export const ConstraintInput = z.union(
  [parsedBy(Text, parseConstraint), parsedBy(Constraint, checkConstraint)],
  { error: constraintError },
)
const AffinityInput = z.union([parsedBy(Text, parseAffinity), parsedBy(Affinity, checkAffinity)], {
  error: 'expected a wish such as label.zone = a weight 20',
})
export const ConstraintList = z
  .union(
    [z.array(ConstraintInput).max(64, 'expected at most 64'), ConstraintInput.transform((one) => [one])],
    {
      error: constraintError,
    },
  )
  .describe('Such as gpu.model = A100, label.zone in (a, b), gpu.memory >= 40Gi, label.ssd exists.')

export const defaultLease = 600
function parseLossPolicy(input: string): LossPolicy | Fault {
  const [, kind = '', rest = ''] = /^([a-z-]+)\s*(.*)$/i.exec(input.trim()) ?? []
  const word = kind.toLowerCase()
  if ((word === 'hold' || word === 'replace-now') && !rest) return { kind: word }
  const expected = { error: `expected hold, lease 10 min, or replace-now, not ${quote(input)}` }
  if (word !== 'lease') return expected
  const duration = rest ? parseDuration(rest) : defaultLease
  if (typeof duration === 'object') return expected
  return duration >= 10
    ? { kind: 'lease', seconds: duration }
    : { error: 'expected a lease of at least 10 seconds' }
}

export const defaultBackoff = { backoff_seconds: 10, max_backoff_seconds: 600 }
const Limit = z.int('expected a whole number of retries').min(0).max(100, 'expected at most 100 retries')
const RetryFields = z
  .strictObject({
    limit: Limit,
    backoff: seconds(0, 86_400).optional(),
    max_backoff: seconds(0, 86_400).optional(),
    backoff_seconds: seconds(0, 86_400).optional(),
    max_backoff_seconds: seconds(0, 86_400).optional(),
  })
  .transform((given): Retries => {
    const backoff = given.backoff ?? given.backoff_seconds ?? defaultBackoff.backoff_seconds
    const most = given.max_backoff ?? given.max_backoff_seconds ?? defaultBackoff.max_backoff_seconds
    return { limit: given.limit, backoff_seconds: backoff, max_backoff_seconds: Math.max(backoff, most) }
  })

const mostIndices = 1024
/** `1-100%4`, `0-30:10`, `1,3,5-9`: indices, and so many at once behind `%`. */
export function parseArray(input: string): TaskArray | Fault {
  const expected = { error: `expected indices such as 1-100, 0-30:10 or 1,3,5-9%4, not ${quote(input)}` }
  const whole = /^([\d\s,:-]+?)(?:%\s*(\d{1,6}))?$/.exec(input.trim())
  if (!whole) return expected
  const indices = new Set<number>()
  for (const part of (whole[1] ?? '').split(',')) {
    const [, from, to, by] = /^\s*(\d{1,9})(?:\s*-\s*(\d{1,9})(?:\s*:\s*(\d{1,9}))?)?\s*$/.exec(part) ?? []
    if (from === undefined) return expected
    const [first, last, step] = [Number(from), Number(to ?? from), Number(by ?? 1)]
    if (last < first || step < 1) return expected
    if ((last - first) / step >= mostIndices) return { error: `expected at most ${mostIndices} indices` }
    for (let index = first; index <= last; index += step) {
      if (indices.has(index)) return { error: `the index ${index} is given twice` }
      indices.add(index)
    }
  }
  return checkArray({ indices: [...indices], ...(whole[2] ? { limit: Number(whole[2]) } : {}) })
}

function checkArray(array: TaskArray): TaskArray | Fault {
  const { indices, limit } = array
  if (indices.length > mostIndices) return { error: `expected at most ${mostIndices} indices` }
  if (new Set(indices).size !== indices.length) return { error: 'an index is given twice' }
  if (limit === 0) return { error: 'expected at least 1 at once behind %' }
  return { ...array, indices: indices.toSorted((a, b) => a - b) }
}

/** The scheduler's fields as people write them; each is read into the field of `schedulingFields` with its name. */
export const schedulingInput = {
  team: Name.optional(),
  queue: Name.optional().describe('Absent: default.'),
  priority: PriorityClass.optional().describe('low, normal or high; absent: the queue’s.'),
  preemptible: z.boolean('expected true or false').optional().describe('Absent: of class low only.'),
  grace: seconds(0, 3600).optional().describe('From SIGTERM to SIGKILL, such as 2 mins. Absent: 10 s.'),
  placement: z.enum(['pack', 'spread'], 'expected pack or spread').optional().describe('Absent: pack.'),
  even: z
    .boolean('expected true or false')
    .optional()
    .describe('As many tasks of a role on each node that has any.'),
  constraints: ConstraintList.optional(),
  affinities: z
    .array(AffinityInput)
    .max(64, 'expected at most 64')
    .optional()
    .describe('Wishes, such as label.zone = a weight 20; −100 … 100.'),
  loss_policy: z
    .union([parsedBy(Text, parseLossPolicy), LossPolicy], {
      error: 'expected hold, lease 10 min, or replace-now',
    })
    .optional()
    .describe('hold, lease 10 min, or replace-now: what becomes of a task whose node falls silent.'),
  retries: z
    .union([Limit.transform((limit): Retries => ({ limit, ...defaultBackoff })), RetryFields], {
      error: 'expected a number of retries, or {limit: 3, backoff: 10 s, max_backoff: 10 mins}',
    })
    .optional(),
  array: z
    .union([parsedBy(Text, parseArray), parsedBy(TaskArray, checkArray)], {
      error: 'expected indices such as 1-100%4',
    })
    .optional()
    .describe('One task for each index, such as 1-100%4: a hundred, four at once.'),
  idle_stop: seconds(60, 366 * 86_400)
    .optional()
    .describe('Stopped when its GPUs idle for so long, such as 1h.'),
}

/** Other words for the fields above, as the stored spec has them. */
export const schedulingWords = { grace_seconds: 'grace', idle_stop_seconds: 'idle_stop' } as const

const quote = (value: string) => JSON.stringify(value.slice(0, 60))
