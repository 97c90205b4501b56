import { type Command, InvalidArgumentError, Option } from 'commander'
import { usageGroups, type UsageReport, type UsageRow } from '../../contract/order.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { plain, properties, table } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'

type Group = (typeof usageGroups)[number]
interface UsageOptions extends CommonOptions {
  by: Group
  from?: string
  to?: string
  csv?: boolean
}

const dayOption = (text: string): string => {
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return text
  throw new InvalidArgumentError('expected a day such as 2026-01-31.')
}

export function usageVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const usage = verb(program, 'usage', 'what was used this month, by whom, what came of it and what it cost')
    .addOption(new Option('--by <what>', 'what the rows are').choices(usageGroups).default('user'))
    .option('--from <day>', 'first day, UTC (default: the first of this month)', dayOption)
    .option('--to <day>', 'last day, UTC (default: today)', dayOption)
    .option('--csv', 'as CSV, for a spreadsheet')
    .action((options: UsageOptions) =>
      connected(tool, options, async ({ client }) => {
        const { by, from, to } = options
        if (options.csv && options.output !== 'table')
          throw new UsageError('--csv and --output exclude each other', 'Give one of them.')
        const query = { by, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }
        if (options.csv) return terminal.out(await (await client.raw('usage.csv', { query })).text())
        const report = await client.call('usage.get', { query })
        print(terminal, options.output, report, () => usageTable(report, by))
      }),
    )
  priceVerbs(usage, tool)
}

const columnsBy: Record<Group, readonly ('day' | 'user' | 'team' | 'workload')[]> = {
  user: ['user'],
  team: ['team'],
  workload: ['user', 'workload'],
  day: ['day'],
  detail: ['day', 'user', 'team', 'workload'],
}

function usageTable({ rows, total, currency, from, to }: UsageReport, by: Group): string {
  const hours = (value: number) => value.toFixed(1)
  const [first = 'user'] = columnsBy[by]
  const columns = [
    ...columnsBy[by].map((key) => ({
      title: key.toUpperCase(),
      cell: (row: UsageRow) => plain(row[key] ?? '-'),
    })),
    { title: 'ATTEMPTS', cell: (row: UsageRow) => String(row.attempts) },
    { title: 'GPU-HOURS', cell: (row: UsageRow) => hours(row.gpu_hours) },
    { title: 'WASTED', cell: (row: UsageRow) => hours(row.wasted_gpu_hours) },
    { title: 'IDLE', cell: (row: UsageRow) => hours(row.idle_gpu_hours) },
    { title: 'CPU-HOURS', cell: (row: UsageRow) => hours(row.cpu_hours) },
    { title: 'GIB-HOURS', cell: (row: UsageRow) => hours(row.memory_gib_hours) },
    { title: currency.toUpperCase(), cell: (row: UsageRow) => row.money.toFixed(2) },
  ]
  return `${from} to ${to}\n${table(columns, [...rows, { ...total, [first]: 'in all' }])}`
}

interface PriceOptions extends CommonOptions {
  currency?: string
  gpu?: number
  gpuModel?: [string, number][]
  cpu?: number
  memoryGib?: number
}

const priceOption = (text: string): number => {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text)
  throw new InvalidArgumentError('expected a price such as 1.50.')
}
const modelOption = (text: string, before: [string, number][] | undefined): [string, number][] => {
  const at = text.lastIndexOf('=')
  if (at < 1) throw new InvalidArgumentError('expected MODEL=PRICE, such as A100=1.50.')
  return [...(before ?? []), [text.slice(0, at).trim(), priceOption(text.slice(at + 1).trim())]]
}

function priceVerbs(usage: Command, tool: Tool): void {
  const { terminal } = tool
  verb(usage, 'prices', 'what an hour of each thing costs; with options, set it')
    .option('--currency <name>', 'such as EUR, or points')
    .option('--gpu <price>', 'an hour of a GPU whose model has no price of its own', priceOption)
    .option(
      '--gpu-model <model=price>',
      'an hour of a GPU by a part of its model’s name (repeatable)',
      modelOption,
    )
    .option('--cpu <price>', 'an hour of a core', priceOption)
    .option('--memory-gib <price>', 'an hour of a GiB of memory', priceOption)
    .action((options: PriceOptions) =>
      connected(tool, options, async ({ client }) => {
        const { currency, gpu, gpuModel, cpu, memoryGib } = options
        const known = await client.call('prices.get', {})
        const models = gpuModel && { ...known.gpu_models, ...Object.fromEntries(gpuModel) }
        const fields = { currency, gpu, gpu_models: models, cpu, memory_gib: memoryGib }
        const body = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
        if (currency === '') throw new UsageError('expected a currency such as EUR')
        const prices = Object.keys(body).length ? await client.call('prices.put', { body }) : known
        print(terminal, options.output, prices, () =>
          properties([
            ['currency', plain(prices.currency)],
            ['GPU', String(prices.gpu)],
            ...Object.entries(prices.gpu_models).map(
              ([model, price]) => [plain(model), String(price)] as const,
            ),
            ['core', String(prices.cpu)],
            ['GiB of memory', String(prices.memory_gib)],
          ]),
        )
      }),
    )
}
