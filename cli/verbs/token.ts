import type { Command } from 'commander'
import type { Token } from '../../contract/people.ts'
import { print } from '../output/print.ts'
import { type Column, plain, table } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { repeated, wholeOption } from './options.ts'
import { collect } from './pages.ts'

export function tokenVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const token = program.command('token').description('sign-ins and tokens for programs')
  verb(token, 'list', 'your own sign-ins and tokens')
    .option('--user <name>', "somebody else's (admins); * is everybody's")
    .action(({ user, ...options }: CommonOptions & { user?: string }) =>
      connected(tool, options, async ({ client }) => {
        const whose = user === undefined ? {} : { user }
        const page = await collect((query) => client.call('tokens.list', { query: { ...query, ...whose } }))
        print(terminal, options.output, page, () => table(columns, page.items))
      }),
    )
  verb(token, 'create <name>', 'a token for a program, shown once')
    .option(
      '--scope <pattern>',
      'what it may do: *, experiment:*, *:read, experiment:create … (repeatable; default: all you may)',
      repeated,
    )
    .option('--days <number>', 'until it expires (default: 90)', wholeOption(1, 3660))
    .action(
      (name: string, { scope, days, ...options }: CommonOptions & { scope?: string[]; days?: number }) =>
        connected(tool, options, async ({ client }) => {
          const body = { name, ...(scope ? { scopes: scope } : {}), ...(days ? { days } : {}) }
          const made = await client.call('tokens.create', { body })
          print(terminal, options.output, made, () => `${made.token}\n`)
          terminal.err(`Shown this once; ${made.id} until ${made.expires_at}.\n`)
        }),
    )
  verb(token, 'delete <id>', 'end a token or a sign-in').action((id: string, options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      await client.call('tokens.delete', { params: { token: id } })
      print(terminal, options.output, { token: id, deleted: true }, () => `${plain(id)} ended\n`)
    }),
  )
}

const columns: Column<Token>[] = [
  { title: 'ID', cell: ({ id, current }) => id + (current ? ' (this one)' : '') },
  { title: 'KIND', cell: ({ kind }) => kind },
  { title: 'USER', cell: ({ user }) => plain(user) },
  { title: 'NAME', cell: ({ name }) => plain(name) || '-' },
  { title: 'MAY', cell: ({ scopes }) => plain(scopes.join(' ')) },
  { title: 'LAST USED', cell: ({ last_used_at, address }) => (last_used_at ?? '-') + (address === null ? '' : ` from ${plain(address)}`) },
  { title: 'EXPIRES', cell: ({ expires_at }) => expires_at },
] // prettier-ignore
