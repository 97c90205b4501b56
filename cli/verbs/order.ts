import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Client } from '../../contract/client.ts'
import { formatConstraint, parseConstraint } from '../../contract/constraint.ts'
import { formatDuration, parseDuration } from '../../contract/duration.ts'
import type { QueueInput, QuotaInput, QuotaUse } from '../../contract/order.ts'
import { formatBytes, parseBytes } from '../../contract/resources.ts'
import {
  priorityClasses,
  type PriorityClass,
  type Queue,
  type Reservation,
} from '../../contract/scheduling.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { plain, table } from '../output/table.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { repeated, wholeOption } from './options.ts'
import { collect } from './pages.ts'

const boundOr =
  <T>(read: (text: string) => T | { error: string }) =>
  (text: string): T | 'none' => {
    // Commander takes null for an option without a value.
    if (text === 'none') return text
    const value = read(text)
    if (typeof value === 'object' && value !== null && 'error' in value)
      throw new InvalidArgumentError(`${value.error}, or none.`)
    return value
  }
const runtimeOption = boundOr(parseDuration)
const sizeOption = boundOr(parseBytes)
const numberOption = (text: string): number => {
  const value = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && value <= 1e9) return value
  throw new InvalidArgumentError('expected a number such as 4 or 0.5.')
}
const amountOption = boundOr((text) =>
  /^\d+(\.\d+)?$/.test(text) ? Number(text) : { error: 'expected a number such as 8' },
)
const countOption = boundOr((text) =>
  /^\d{1,9}$/.test(text) ? Number(text) : { error: 'expected a whole number' },
)
const constraintOption = (text: string, before: string[] | undefined): string[] => {
  const read = parseConstraint(text)
  if ('error' in read) throw new InvalidArgumentError(read.error + '.')
  return repeated(text, before)
}

const given = <T extends object>(fields: T): Partial<{ [K in keyof T]: Exclude<T[K], undefined> }> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never

type Bound = number | 'none'
/** `none` takes a bound away. */
const bound = (value: Bound | undefined) => (value === 'none' ? null : value)

const nothingToChange = () => new UsageError('nothing to change', 'Give at least one option; see --help.')
const none = (value: unknown, text: (value: never) => string): string =>
  value === null ? '-' : text(value as never)

// --- queues -------------------------------------------------------------------------------------------------

interface QueueOptions extends CommonOptions {
  priority?: PriorityClass
  maxPriority?: PriorityClass
  maxRuntime?: Bound
  defaultRuntime?: Bound
  constraint?: string[]
  constraints?: boolean
  open?: boolean
  close?: boolean
}

export function queueVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const queue = program.command('queue').description('queues: what they take, and how far')
  readVerb(queue, 'list', 'all queues').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) => client.call('queues.list', { query: { ...query, ...consistencyOf(options) } })) // prettier-ignore
      print(terminal, options.output, page, () => queueTable(page.items))
    }),
  )
  verb(queue, 'set <name>', 'make a queue, or change what is given of one')
    .addOption(
      new Option('--priority <class>', 'class of what is submitted without one').choices(priorityClasses),
    )
    .addOption(new Option('--max-priority <class>', 'higher classes are refused').choices(priorityClasses))
    .option('--max-runtime <duration>', 'longer timeouts are refused, such as 12h; or none', runtimeOption)
    .option(
      '--default-runtime <duration>',
      'timeout of what is submitted without one; or none',
      runtimeOption,
    )
    .option(
      '--constraint <text>',
      'added to everything in it, such as "label.pool = batch"',
      constraintOption,
    )
    .option('--no-constraints', 'take the constraints away')
    .option('--open', 'it takes new work')
    .option('--close', 'it takes no new work; what is in it goes on')
    .action((name: string, options: QueueOptions) =>
      connected(tool, options, async ({ client }) => {
        const body = queueChange(options)
        if (!Object.keys(body).length) throw nothingToChange()
        const done = await client.call('queues.put', { params: { queue: name }, body })
        print(terminal, options.output, done, () => queueTable([done]))
      }),
    )
  verb(queue, 'delete <name>', 'delete a queue in which nothing waits or runs').action(
    (name: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        await client.call('queues.delete', { params: { queue: name } })
        print(terminal, options.output, { name, deleted: true }, () => `queue ${plain(name)} deleted\n`)
      }),
  )
}

function queueChange(options: QueueOptions): QueueInput {
  const { priority, maxPriority, maxRuntime, defaultRuntime, constraint, open, close } = options
  if (open && close) throw new UsageError('--open and --close exclude each other')
  return given({
    priority,
    max_priority: maxPriority,
    max_runtime: bound(maxRuntime),
    default_runtime: bound(defaultRuntime),
    constraints: options.constraints === false ? [] : constraint,
    open: close ? false : open,
  })
}

const queueTable = (queues: readonly Queue[]) =>
  table<Queue>(
    [
      { title: 'NAME', cell: (q) => q.name },
      { title: 'TAKES NEW', cell: (q) => (q.open ? 'yes' : 'no') },
      { title: 'CLASS', cell: (q) => q.priority },
      { title: 'UP TO', cell: (q) => q.max_priority },
      { title: 'MAX RUNTIME', cell: (q) => none(q.max_runtime_seconds, formatDuration) },
      { title: 'DEFAULT', cell: (q) => none(q.default_runtime_seconds, formatDuration) },
      { title: 'CONSTRAINTS', cell: (q) => plain(q.constraints.map(formatConstraint).join('; ')) || '-' },
    ],
    queues,
  )

// --- quotas -------------------------------------------------------------------------------------------------

interface QuotaOptions extends CommonOptions {
  gpu?: Bound
  cpu?: Bound
  memory?: Bound
  disk?: Bound
  running?: Bound
  gpuHoursMonth?: Bound
  moneyMonth?: Bound
  guaranteedGpu?: number
  weight?: number
}

export function quotaVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const quota = program
    .command('quota')
    .description('quotas of users, teams and the cluster, and what is used of them')
  readVerb(quota, 'list', 'all quotas with what is used of them').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) => client.call('quotas.list', { query: { ...query, ...consistencyOf(options) } })) // prettier-ignore
      print(terminal, options.output, page, () => quotaTable(page.items))
    }),
  )
  verb(quota, 'set <subject>', 'set a quota: cluster, user:NAME, team:NAME; user:*, team:* for all others')
    .option('--gpu <n>', 'GPUs at once; none takes this and any bound away', countOption)
    .option('--cpu <cores>', 'cores at once', amountOption)
    .option('--memory <size>', 'memory at once, such as 512Gi', sizeOption)
    .option('--disk <size>', 'disk at once', sizeOption)
    .option('--running <n>', 'workloads at once', countOption)
    .option('--gpu-hours-month <n>', 'GPU-hours in a calendar month', amountOption)
    .option('--money-month <sum>', 'money in a calendar month; see `submarine usage prices`', amountOption)
    .option(
      '--guaranteed-gpu <n>',
      'GPUs that are given back by who borrowed them',
      wholeOption(0, 1_000_000),
    )
    .option('--weight <n>', 'its part of the fair share (1 without a quota)', numberOption)
    .action((subject: string, options: QuotaOptions) =>
      connected(tool, options, async ({ client }) => {
        const body = quotaChange(options)
        if (!Object.keys(body).length) throw nothingToChange()
        const done = await client.call('quotas.put', { params: { subject }, body })
        print(terminal, options.output, done, () => quotaTable([done]))
      }),
    )
  verb(quota, 'delete <subject>', 'take a quota away').action((subject: string, options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      await client.call('quotas.delete', { params: { subject } })
      print(
        terminal,
        options.output,
        { subject, deleted: true },
        () => `quota of ${plain(subject)} deleted\n`,
      )
    }),
  )
}

function quotaChange(options: QuotaOptions): QuotaInput {
  const { gpu, cpu, memory, disk, running, gpuHoursMonth, moneyMonth, guaranteedGpu, weight } = options
  const limits = given({
    gpu: bound(gpu),
    cpu: bound(cpu),
    memory: bound(memory),
    disk: bound(disk),
    running: bound(running),
    gpu_hours_month: bound(gpuHoursMonth),
    money_month: bound(moneyMonth),
  })
  return given({
    limits: Object.keys(limits).length ? limits : undefined,
    guaranteed_gpu: guaranteedGpu,
    weight,
  })
}

type LimitKind = keyof QuotaUse['limits']
/** `4/8`: used of allowed; a line without either is left empty. */
function usedOf(
  { use, limits }: QuotaUse,
  kind: LimitKind,
  text: (value: number) => string = String,
): string {
  const limit = limits[kind]
  const used = use === null ? null : use[kind]
  if (limit === null && (used === null || used === 0)) return '-'
  return `${used === null ? '' : `${text(used)}/`}${limit === null ? 'any' : text(limit)}`
}
const tenth = (value: number) => String(Math.round(value * 10) / 10)

const quotaTable = (quotas: readonly QuotaUse[]) =>
  table<QuotaUse>(
    [
      { title: 'SUBJECT', cell: (q) => q.subject },
      { title: 'GPU', cell: (q) => usedOf(q, 'gpu') },
      { title: 'GUARANTEED', cell: (q) => String(q.guaranteed_gpu || '-') },
      { title: 'CPU', cell: (q) => usedOf(q, 'cpu') },
      { title: 'MEMORY', cell: (q) => usedOf(q, 'memory', formatBytes) },
      { title: 'DISK', cell: (q) => usedOf(q, 'disk', formatBytes) },
      { title: 'RUNNING', cell: (q) => usedOf(q, 'running') },
      { title: 'GPU-HOURS/MONTH', cell: (q) => usedOf(q, 'gpu_hours_month', tenth) },
      { title: 'MONEY/MONTH', cell: (q) => usedOf(q, 'money_month', tenth) },
      { title: 'WEIGHT', cell: (q) => String(q.weight) },
    ],
    quotas,
  )

// --- reservations -------------------------------------------------------------------------------------------

interface ReserveOptions extends CommonOptions {
  for: string[]
  node: string[]
  gpus?: number
  from?: string
  to?: string
  duration?: number
  overRunning?: boolean
}

const timeOption = (text: string): string => {
  const span = /^\+/.test(text) ? parseDuration(text.slice(1)) : undefined
  if (typeof span === 'number') return new Date(Date.now() + span * 1000).toISOString()
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN
  if (!Number.isNaN(at)) return new Date(at).toISOString()
  throw new InvalidArgumentError('expected a time such as 2026-01-31T12:00:00Z, or +2h from now.')
}
const spanOption = (text: string): number => {
  const seconds = parseDuration(text)
  if (typeof seconds === 'number') return seconds
  throw new InvalidArgumentError(seconds.error + '.')
}

export function reservationVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const reservation = program
    .command('reservation')
    .description('nodes and GPUs kept for somebody for a time')
  readVerb(reservation, 'list', 'reservations, the earliest first').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) => client.call('reservations.list', { query: { ...query, ...consistencyOf(options) } })) // prettier-ignore
      const names = await namesOfNodes(client, options)
      print(terminal, options.output, page, () => reservationTable(page.items, names))
    }),
  )
  verb(reservation, 'create <name>', 'keep nodes, or GPUs of them, for users or teams')
    .requiredOption('--for <holder>', 'user:NAME or team:NAME (repeatable)', repeated)
    .requiredOption('--node <name>', 'a node, by name or id (repeatable)', repeated)
    .option('--gpus <n>', 'so many GPUs of each node, instead of the whole node', wholeOption(1, 64))
    .option('--from <time>', 'when it begins, such as 2026-01-31T08:00:00Z or +2h (default: now)', timeOption)
    .option('--to <time>', 'when it ends', timeOption)
    .option('--duration <duration>', 'how long it lasts, instead of --to', spanOption)
    .option(
      '--over-running',
      'although work of others may still run there when it begins; what has no time limit makes room then',
    )
    .action((name: string, options: ReserveOptions) =>
      connected(tool, options, async ({ client }) => {
        const done = await client.call('reservations.create', {
          body: reservationOf(name, options),
        })
        const names = await namesOfNodes(client, options)
        print(terminal, options.output, done, () => reservationTable([done], names))
      }),
    )
  verb(reservation, 'delete <id>', 'take a reservation back, by id or name').action(
    (id: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        await client.call('reservations.delete', { params: { reservation: id } })
        print(terminal, options.output, { id, deleted: true }, () => `reservation ${plain(id)} deleted\n`)
      }),
  )
}

async function namesOfNodes(client: Client, options: CommonOptions): Promise<ReadonlyMap<string, string>> {
  const nodes = await collect((query) => client.call('nodes.list', { query: { ...query, ...consistencyOf(options) } })) // prettier-ignore
  return new Map(nodes.items.map(({ id, name }) => [id, name]))
}

function reservationOf(name: string, options: ReserveOptions) {
  const { from, to, duration, gpus, node: nodes, for: holders, overRunning = false } = options
  if ((to === undefined) === (duration === undefined))
    throw new UsageError('expected either --to or --duration', 'Say when the reservation ends.')
  const begin = from === undefined ? Date.now() : Date.parse(from)
  const ends_at = to ?? new Date(begin + (duration ?? 0) * 1000).toISOString()
  return {
    ...{ name, holders, nodes, ends_at, over_running: overRunning },
    ...(from === undefined ? {} : { starts_at: from }),
    ...(gpus === undefined ? {} : { gpus }),
  }
}

const reservationTable = (rows: readonly Reservation[], names: ReadonlyMap<string, string>) =>
  table<Reservation>(
    [
      { title: 'NAME', cell: (r) => r.name },
      { title: 'ID', cell: (r) => r.id },
      { title: 'FOR', cell: (r) => plain(r.holders.join(', ')) },
      { title: 'NODES', cell: (r) => plain(r.nodes.map((node) => names.get(node) ?? node).join(', ')) },
      { title: 'GPUS', cell: (r) => (r.gpus === null ? 'the whole node' : `${r.gpus} each`) },
      { title: 'FROM', cell: (r) => r.starts_at },
      { title: 'TO', cell: (r) => r.ends_at },
    ],
    rows,
  )
