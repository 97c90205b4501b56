import { z } from 'zod'
import { parseBytes } from './resources.ts'
import { ConstraintList, parsedBy, seconds } from './scheduling-input.ts'
import { Limits, PriorityClass, Quota, Reservation } from './scheduling.ts'
import { Name, Time } from './text.ts'

const runtime = seconds(1, 366 * 86_400)

/** What is left out stays as it is; a queue that is new takes what the default one was made with. */
export const QueueInput = z
  .strictObject({
    priority: PriorityClass.optional(),
    max_priority: PriorityClass.optional(),
    max_runtime: runtime.nullable().optional().describe('Such as 12h; null: no bound.'),
    default_runtime: runtime.nullable().optional().describe('The timeout of what is submitted without one.'),
    constraints: ConstraintList.optional(),
    open: z.boolean('expected true or false').optional(),
  })
  .meta({ id: 'QueueInput' })
export type QueueInput = z.input<typeof QueueInput>

const Size = parsedBy(
  z.union([z.string().max(100), z.number()], { error: 'expected a size such as 512Gi' }),
  parseBytes,
)
const bound = <T extends z.ZodType>(type: T) => type.nullable().optional()

export const Subject = Quota.shape.subject
/** What is left out stays as it is; null takes a bound away. */
export const QuotaInput = z
  .strictObject({
    limits: z
      .strictObject({
        gpu: bound(Limits.shape.gpu.unwrap()),
        cpu: bound(Limits.shape.cpu.unwrap()),
        memory: bound(Size),
        disk: bound(Size),
        running: bound(Limits.shape.running.unwrap()),
        gpu_hours_month: bound(Limits.shape.gpu_hours_month.unwrap()),
        money_month: bound(Limits.shape.money_month.unwrap()),
      })
      .optional(),
    guaranteed_gpu: Quota.shape.guaranteed_gpu.optional(),
    weight: Quota.shape.weight.max(1000, 'expected at most 1000').optional(),
  })
  .meta({ id: 'QuotaInput' })
export type QuotaInput = z.input<typeof QuotaInput>

/** A quota, and what is used of it now. */
export const QuotaUse = z
  .object({
    ...Quota.shape,
    use: z
      .object({
        gpu: z.int(),
        cpu: z.number(),
        memory: z.int(),
        disk: z.int(),
        running: z.int(),
        gpu_hours_month: z.number(),
        money_month: z.number(),
      })
      .nullable()
      .describe('null for those that stand for many.'),
    borrowed_gpu: z.int().describe('GPUs held beyond what is guaranteed: others may get them back.'),
  })
  .meta({ id: 'QuotaUse' })
export type QuotaUse = z.infer<typeof QuotaUse>

export const ReservationInput = z
  .strictObject({
    name: Name,
    holders: z
      .array(z.string().regex(/^(user|team):[A-Za-z0-9][A-Za-z0-9._-]*$/, 'expected user:NAME or team:NAME'))
      .min(1, 'expected user:NAME or team:NAME')
      .max(64, 'expected at most 64'),
    nodes: z.array(z.string().max(200)).min(1, 'expected one node or more').max(256, 'expected at most 256'),
    gpus: Reservation.shape.gpus.optional().describe('So many GPUs of each node; absent: the whole nodes.'),
    starts_at: Time.optional().describe('Absent: now.'),
    ends_at: Time,
    over_running: z
      .boolean()
      .default(false)
      .describe(
        'Although tasks of others may still run there when it begins; those with a time limit run on to it, the others make room then and wait again.',
      ),
  })
  .meta({ id: 'ReservationInput' })
export type ReservationInput = z.input<typeof ReservationInput>

const price = z.number().min(0, 'expected no price below 0').max(1e6)
/** What an hour costs, in a currency of the lab's choice; it may be points as well as money. */
export const Prices = z
  .object({
    currency: z.string().regex(/^[A-Za-z€$£¥]{1,12}$/, 'expected a currency such as EUR'),
    gpu: price.describe('Of a GPU whose model has no price of its own.'),
    gpu_models: z
      .record(z.string().min(1).max(100), price)
      .describe('By a part of the model’s name; the longest counts.'),
    cpu: price.describe('Of a core.'),
    memory_gib: price.describe('Of a GiB of memory.'),
  })
  .meta({ id: 'Prices' })
export type Prices = z.infer<typeof Prices>
export const PricesInput = z.strictObject(Prices.partial().shape).meta({ id: 'PricesInput' })
export type PricesInput = z.input<typeof PricesInput>

export const usageGroups = ['user', 'team', 'workload', 'day', 'detail'] as const
const Day = z
  .string()
  .regex(/^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, 'expected a day such as 2026-01-31')
export const UsageQuery = z.object({
  by: z.enum(usageGroups).default('user').describe('detail: by day, user, team and workload.'),
  from: Day.optional().describe('First day (UTC). Absent: the first of this month.'),
  to: Day.optional().describe('Last day (UTC). Absent: today.'),
})

/** What was used, running attempts up to now included. */
export const UsageRow = z
  .object({
    day: z.string().nullable(),
    user: z.string().nullable(),
    team: z.string().nullable(),
    workload: z.string().nullable().describe('Name, not id: one row for all runs of it.'),
    attempts: z.int().describe('That ended.'),
    gpu_hours: z.number(),
    cpu_hours: z.number(),
    memory_gib_hours: z.number(),
    wasted_gpu_hours: z.number().describe('Of attempts that failed, were preempted or lost.'),
    idle_gpu_hours: z.number().describe('In which the GPUs of an attempt did nothing.'),
    money: z.number(),
  })
  .meta({ id: 'UsageRow' })
export type UsageRow = z.infer<typeof UsageRow>

export const UsageReport = z
  .object({
    from: z.string(),
    to: z.string(),
    currency: z.string(),
    rows: z.array(UsageRow),
    total: UsageRow,
  })
  .meta({ id: 'UsageReport' })
export type UsageReport = z.infer<typeof UsageReport>
