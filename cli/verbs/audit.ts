import { type Command, InvalidArgumentError } from 'commander'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { AuditRecord, chainFault } from '../../contract/audit.ts'
import { ProblemError } from '../../contract/problem.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { type Column, counted, plain, properties, table } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { wholeOption } from './options.ts'
import { collect } from './pages.ts'

interface ListOptions extends CommonOptions {
  actor?: string
  action?: string
  object?: string
  refused?: boolean
  from?: string
  to?: string
  limit: number
}

const timeOption = (text: string): string => {
  const time = Date.parse(text)
  if (Number.isFinite(time)) return new Date(time).toISOString()
  throw new InvalidArgumentError('expected a time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31.')
}

export function auditVerbs(program: Command, tool: Tool): void {
  const audit = program.command('audit').description('who did what to which object, and what was refused')
  listVerb(audit, tool)
  exportVerb(audit, tool)
  verifyVerb(audit, tool)
}

function listVerb(audit: Command, tool: Tool): void {
  verb(audit, 'list', 'records of the audit log, newest first')
    .option('--actor <name>', 'only what this user, or task:ID, did')
    .option('--action <action>', 'only this, such as experiment.delete; experiment. for all of that kind')
    .option('--object <kind/id>', 'only what was done to this, such as node/node-2 or user/ana')
    .option('--refused', 'only what was refused')
    .option('--from <time>', 'from this time or day', timeOption)
    .option('--to <time>', 'up to this time or day', timeOption)
    .option('--limit <n>', 'how many', wholeOption(1, 100_000), 50)
    .action((options: ListOptions) =>
      connected(tool, options, async ({ client }) => {
        const { actor, action, object, from, to, limit } = options
        const given = { actor, action, object, from, to, decision: options.refused ? 'refused' : undefined }
        const filter = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
        const found = await collect(
          (page) => client.call('audit.list', { query: { ...page, ...filter } }),
          limit,
        )
        print(tool.terminal, options.output, found, () => table(columns, found.items))
      }),
    )
}

const columns: Column<AuditRecord>[] = [
  { title: 'SEQ', cell: ({ seq }) => String(seq) },
  { title: 'TIME', cell: ({ at }) => at.slice(0, 19) + 'Z' },
  { title: 'ACTOR', cell: ({ actor }) => plain(actor) },
  { title: 'FROM', cell: ({ address }) => plain(address ?? '-') },
  { title: 'ACTION', cell: ({ action }) => plain(action) },
  {
    title: 'OBJECT',
    cell: ({ object }) => plain(object.id === null ? object.kind : `${object.kind}/${object.id}`),
  },
  {
    title: 'DECISION',
    cell: ({ decision, code, count }) =>
      `${decision}${code ? `: ${plain(code)}` : ''}${count > 1 ? ` (${count} times)` : ''}`,
  },
]

function exportVerb(audit: Command, tool: Tool): void {
  verb(audit, 'export [file]', 'the whole audit log as JSON lines, to a file or standard output')
    .option('--after <seq>', 'only records after this one', wholeOption(0, Number.MAX_SAFE_INTEGER), 0)
    .action((file: string | undefined, options: CommonOptions & { after: number }) =>
      connected(tool, options, async ({ client }) => {
        const { body } = await client.raw('audit.export', { query: { after: options.after } })
        const chunks = (body ?? []) as AsyncIterable<Uint8Array>
        if (file === undefined) {
          const text = new TextDecoder()
          for await (const chunk of chunks) tool.terminal.out(text.decode(chunk, { stream: true }))
          return
        }
        const target = await open(path.resolve(tool.terminal.cwd, file), 'wx', 0o600).catch(
          (error: Error) => {
            throw new UsageError(`the file cannot be made: ${error.message}`)
          },
        )
        try {
          for await (const chunk of chunks) await target.write(chunk)
          await target.sync()
        } finally {
          await target.close()
        }
        tool.terminal.err(`Written to ${file}. Check it with: submarine audit verify ${file}\n`)
      }),
    )
}

function verifyVerb(audit: Command, tool: Tool): void {
  verb(
    audit,
    'verify [file]',
    'is an export whole and unaltered? Without a file: the log of the cluster itself',
  ).action((file: string | undefined, options: CommonOptions) => {
    const { terminal } = tool
    const tell = (found: Verified) =>
      print(terminal, options.output, found, () =>
        properties([
          [
            'records',
            `${counted(found.records, 'record')}, ${found.first} to ${found.last}: the chain is whole`,
          ],
          ['last digest', found.sha256 ?? '-'],
        ]),
      )
    if (file !== undefined) return verify(createReadStream(path.resolve(terminal.cwd, file))).then(tell)
    return connected(tool, options, async ({ client }) => {
      const { body } = await client.raw('audit.export', {})
      tell(await verify(Readable.from((body ?? []) as AsyncIterable<Uint8Array>)))
    })
  })
}

interface Verified {
  records: number
  first: number
  last: number
  /** Of the last record: an export of later that goes on from here has the same. */
  sha256: string | null
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Throws ProblemError `conflict` that names the first record that is not right. */
async function verify(source: Readable): Promise<Verified> {
  let last: AuditRecord | undefined
  let first = 0
  let records = 0
  for await (const line of createInterface({ input: source, crlfDelay: Infinity })) {
    if (line === '') continue
    records++
    const record = read(line)
    const fault = record
      ? chainFault(record, last, sha256)
      : `line ${records} is not a record of the audit log`
    if (!record || fault !== undefined)
      throw new ProblemError('conflict', `the audit log is not whole: ${fault}`, {
        hint: 'Compare it with an export of another agent, or with an older one: all records before this one are right.',
      })
    if (records === 1) first = record.seq
    last = record
  }
  return { records, first, last: last?.seq ?? 0, sha256: last?.sha256 ?? null }
}

function read(line: string): AuditRecord | undefined {
  try {
    return AuditRecord.safeParse(JSON.parse(line)).data
  } catch {
    return undefined
  }
}
