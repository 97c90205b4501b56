import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import type { Secret, SecretInput } from '../../contract/secrets.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { type Column, plain, table } from '../output/table.ts'
import { askPassword, readLine } from '../prompt.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { collect } from './pages.ts'

interface SetOptions extends CommonOptions {
  fromFile?: string
  valueStdin?: boolean
  kind?: Secret['kind']
  principal?: string
  team?: string
  description?: string
}

export function secretVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const secret = program.command('secret').description('what tasks are given and nobody is told')
  verb(secret, 'set <name>', 'keep a secret, or replace it; nobody can read it back')
    .option('--from-file <file>', 'what the file has, bytes as they are')
    .option('--value-stdin', 'the first line of standard input')
    .option('--kind <kind>', 'generic, s3, git, registry or keytab')
    .option(
      '--principal <principal>',
      'of a keytab: who it is for, such as ana@LAB.EXAMPLE; tasks get a ticket',
    )
    .option('--team <team>', 'its members use it too')
    .option('--description <text>', 'what it is for')
    .action(async (name: string, options: SetOptions) => {
      const { principal, team, description } = options
      const kind = options.kind ?? (principal === undefined ? undefined : 'keytab')
      const value = await valueOf(tool, options)
      const body = { ...value, ...(kind ? { kind } : {}), ...(principal ? { principal } : {}), ...(team ? { team } : {}), ...(description ? { description } : {}) } // prettier-ignore
      await connected(tool, options, async ({ client }) => {
        const made = await client.call('secrets.put', { params: { secret: name }, body })
        print(terminal, options.output, made, () => secretTable([made]))
      })
    })
  readVerb(secret, 'list', 'secrets you may know of, never what they are').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) =>
        client.call('secrets.list', { query: { ...query, ...consistencyOf(options) } }),
      )
      print(terminal, options.output, page, () => secretTable(page.items))
    }),
  )
  verb(secret, 'delete <name>', 'delete a secret (NAME or OWNER/NAME)').action(
    (name: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        await client.call('secrets.delete', { params: { secret: name } })
        print(terminal, options.output, { secret: name, deleted: true }, () => `${plain(name)} deleted\n`)
      }),
  )
  verb(secret, 'share <name>', 'let people or teams use a secret in their work; without --with nobody else')
    .option('--with <who...>', 'user:NAME or team:NAME')
    .action((name: string, options: CommonOptions & { with?: string[] }) =>
      connected(tool, options, async ({ client }) => {
        const shares = (options.with ?? []).map((who) => ({ with: who, level: 'run' as const }))
        const body = { visibility: 'private' as const, shares }
        const made = await client.call('secrets.share', { params: { secret: name }, body })
        print(terminal, options.output, made, () => secretTable([made]))
      }),
    )
}

async function valueOf(
  { terminal }: Tool,
  { fromFile, valueStdin }: SetOptions,
): Promise<Pick<SecretInput, 'value' | 'encoding'>> {
  if (fromFile !== undefined) {
    const bytes = await readFile(path.resolve(terminal.cwd, fromFile)).catch((error: Error) => {
      throw new UsageError(`the secret cannot be read: ${error.message}`)
    })
    return { value: bytes.toString('base64'), encoding: 'base64' }
  }
  if (valueStdin) return { value: await readLine(terminal), encoding: 'text' }
  if (terminal.interactive) return { value: await askPassword(terminal, 'Secret: '), encoding: 'text' }
  throw new UsageError('nobody can be asked for the secret', 'Give it with --from-file or --value-stdin.')
}

function secretTable(secrets: readonly Secret[]): string {
  const columns: Column<Secret>[] = [
    { title: 'SECRET', cell: ({ id }) => plain(id) },
    {
      title: 'KIND',
      cell: ({ kind, principal }) => (principal === undefined ? kind : `${kind} of ${plain(principal)}`),
    },
    { title: 'TEAM', cell: ({ team }) => plain(team ?? '-') },
    { title: 'VERSION', cell: ({ version }) => String(version) },
    { title: 'SET', cell: ({ updated_at, updated_by }) => `${updated_at} by ${plain(updated_by)}` },
  ]
  return table(columns, secrets)
}
