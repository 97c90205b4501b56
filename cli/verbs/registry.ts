import type { Command } from 'commander'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Registry } from '../../contract/images.ts'
import { print } from '../output/print.ts'
import { type Column, plain, table } from '../output/table.ts'
import { UsageError } from '../failure.ts'
import { askPassword, readLine } from '../prompt.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { collect } from './pages.ts'

interface AddOptions extends CommonOptions {
  user?: string
  passwordStdin?: boolean
  ca?: string
  insecure?: boolean
}

export function registryVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const registry = program.command('registry').description('private registries that nodes pull images from')
  verb(
    registry,
    'add <host>',
    'add a registry as image names begin with it (HOST or HOST:PORT), or replace what it is told',
  )
    .option('--user <name>', 'user to pull as')
    .option('--password-stdin', 'read the password from standard input')
    .option('--ca <file>', 'trust certificates of this authority (PEM)')
    .option('--insecure', 'it has no TLS, or a certificate that cannot be checked')
    .action(async (host: string, options: AddOptions) => {
      const { user, insecure } = options
      if (options.passwordStdin && user === undefined)
        throw new UsageError('--password-stdin goes with --user')
      const ca = options.ca === undefined ? {} : { ca: await readCa(path.resolve(terminal.cwd, options.ca)) }
      const secret = user === undefined ? {} : { user, password: await passwordOf(terminal, options) }
      const body = { host, ...secret, ...ca, ...(insecure ? { insecure } : {}) }
      await connected(tool, options, async ({ client }) => {
        const added = await client.call('registries.add', { body })
        print(terminal, options.output, added, () => registryTable([added]))
      })
    })
  readVerb(registry, 'list', 'registries, without what they are told').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) =>
        client.call('registries.list', { query: { ...query, ...consistencyOf(options) } }),
      )
      print(terminal, options.output, page, () => registryTable(page.items))
    }),
  )
  verb(registry, 'remove <host>', 'forget a registry and its credentials').action(
    (host: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        await client.call('registries.remove', { params: { host } })
        print(terminal, options.output, { host, removed: true }, () => `${plain(host)} removed\n`)
      }),
  )
}

async function passwordOf(terminal: Terminal, options: AddOptions): Promise<string> {
  if (options.passwordStdin) return readLine(terminal)
  if (terminal.interactive) return askPassword(terminal, 'Password: ')
  throw new UsageError('nobody can be asked for the password', 'Give it on stdin with --password-stdin.')
}

async function readCa(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: Error) => {
    throw new UsageError(`the certificates cannot be read: ${error.message}`)
  })
}

function registryTable(registries: readonly Registry[]): string {
  const columns: Column<Registry>[] = [
    { title: 'HOST', cell: ({ host }) => plain(host) },
    { title: 'USER', cell: ({ user }) => plain(user ?? '-') },
    {
      title: 'TRUST',
      cell: ({ ca, insecure }) => (insecure ? 'insecure' : ca ? 'own CA' : "the system's CAs"),
    },
    { title: 'ADDED', cell: ({ added_at, added_by }) => `${added_at} by ${plain(added_by)}` },
  ]
  return table(columns, registries)
}
