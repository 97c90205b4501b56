import type { Command } from 'commander'
import { type IdentityProvider, type ProviderCheck, ProviderSettings } from '../../contract/identity.ts'
import { fieldErrors } from '../../contract/problem.ts'
import { fieldLine, SpecError, UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { type Column, plain, properties, table } from '../output/table.ts'
import { agree, askPassword, confirm, readLine } from '../prompt.ts'
import { parseSpecText, textOf } from '../spec/read.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { collect } from './pages.ts'

interface SetOptions extends CommonOptions {
  file: string
  secretStdin?: boolean
  secret: boolean
}

export function identityProviderVerbs(program: Command, tool: Tool): void {
  const providers = program
    .command('identity-provider')
    .description('directories (LDAP) and OpenID Connect providers that people sign in by')
  readVerbs(providers, tool)
  changeVerbs(providers, tool)
  checkVerb(providers, tool)
}

function readVerbs(providers: Command, tool: Tool): void {
  const { terminal } = tool
  readVerb(providers, 'list', 'all of them').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) =>
        client.call('identityProviders.list', { query: { ...query, ...consistencyOf(options) } }),
      )
      print(terminal, options.output, page, () => table(columns, page.items))
    }),
  )
  readVerb(providers, 'get <name>', 'one of them, without its secret').action(
    (name: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const found = await client.call('identityProviders.get', {
          params: { provider: name },
          query: consistencyOf(options),
        })
        print(terminal, options.output, found, () => details(found))
      }),
  )
}

function changeVerbs(providers: Command, tool: Tool): void {
  const { terminal } = tool
  verb(providers, 'set <name>', 'add one, or change all that is told of it')
    .requiredOption('-f, --file <file>', 'its settings, YAML or JSON; - reads stdin (docs/sign-in.md has examples)')
    .option('--secret-stdin', 'read the password of bind_dn, or the secret of the client, from stdin')
    .option('--no-secret', 'it has none; default: the one that is kept stays')
    .action(async (name: string, options: SetOptions) => {
      if (options.secretStdin && options.file === '-')
        throw new UsageError('stdin cannot be both', 'Give the settings as a file.')
      const settings = readSettings(await textOf(terminal, options.file), options.file)
      const secret = options.secretStdin ? { secret: await readLine(terminal) } : options.secret ? {} : { secret: null }
      await connected(tool, options, async ({ client }) => {
        const set = await client.call('identityProviders.put', { params: { provider: name }, body: { settings, ...secret } })
        print(terminal, options.output, set, () => details(set))
      })
    }) // prettier-ignore
  verb(providers, 'delete <name>', 'forget it: its people cannot sign in any more, and their sign-ins end')
    .option('--yes', 'without asking')
    .action((name: string, options: CommonOptions & { yes?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const question = () => confirm(terminal, `Forget ${plain(name)}? Its people cannot sign in any more.`)
        await agree(terminal, 'identity-provider delete', { yes: options.yes, question })
        await client.call('identityProviders.delete', { params: { provider: name } })
        print(terminal, options.output, { name, deleted: true }, () => `${plain(name)} deleted\n`)
      }),
    )
}

function checkVerb(providers: Command, tool: Tool): void {
  const { terminal } = tool
  verb(providers, 'check <name>', 'does it answer, and what does it say of somebody?')
    .option('--user <name>', 'LDAP: look this person up')
    .option('--password', 'and ask for a password to try to sign in with')
    .option('--password-stdin', 'the same, with the password from stdin')
    .action(
      (
        name: string,
        options: CommonOptions & { user?: string; password?: boolean; passwordStdin?: boolean },
      ) =>
        connected(tool, options, async ({ client }) => {
          const { user } = options
          const password = await passwordFor(terminal, options)
          const body = { ...(user === undefined ? {} : { user }), ...password }
          const found = await client.call('identityProviders.check', { params: { provider: name }, body })
          print(terminal, options.output, found, () => checkText(found))
          if (!found.ok) process.exitCode = 1
        }),
    )
}

async function passwordFor(
  terminal: Terminal,
  options: { user?: string; password?: boolean; passwordStdin?: boolean },
): Promise<{ password?: string }> {
  if (options.passwordStdin) return { password: await readLine(terminal) }
  if (!options.password) return {}
  if (terminal.interactive) return { password: await askPassword(terminal, `Password of ${options.user}: `) }
  throw new UsageError('nobody can be asked for the password', 'Give it on stdin with --password-stdin.')
}

function readSettings(text: string, file: string): ProviderSettings {
  const parsed = ProviderSettings.safeParse(parseSpecText(text, file).input ?? {})
  if (parsed.success) return parsed.data
  throw new SpecError(`the settings in ${file} are not valid`, fieldErrors(parsed.error).map(fieldLine))
}

const columns: Column<IdentityProvider>[] = [
  { title: 'NAME', cell: ({ name }) => plain(name) },
  { title: 'KIND', cell: ({ settings }) => settings.kind },
  { title: 'AT', cell: ({ settings }) => plain(placeOf(settings)) },
  { title: 'IN USE', cell: ({ settings }) => (settings.enabled ? 'yes' : 'no') },
  { title: 'ADDED', cell: ({ added_at, added_by }) => `${added_at} by ${plain(added_by)}` },
]

const placeOf = (settings: ProviderSettings): string =>
  settings.kind === 'ldap' ? settings.urls.join(', ') : settings.issuer

const details = ({ name, settings, secret, added_at, added_by }: IdentityProvider): string =>
  properties([
    ['name', plain(name)],
    ['kind', settings.kind],
    ['at', plain(placeOf(settings))],
    ['secret', secret ? 'kept, never shown' : 'none'],
    ['in use', settings.enabled ? 'yes' : 'no'],
    ['rank of newcomers', settings.rank],
    ['admins are', plain(settings.admin_groups.join(', ')) || 'made here'],
    ['added', `${added_at} by ${plain(added_by)}`],
  ])

function checkText({ steps, person, redirect_uris }: ProviderCheck): string {
  const lines = steps.map(({ what, ok, message }) => `${ok ? 'ok ' : 'no '} ${plain(what)}: ${plain(message)}\n`)
  const who = person
    ? [`signed in as ${plain(person.name)}, ${person.rank}; teams: ${plain(person.teams.join(', ')) || '-'}; groups: ${plain(person.groups.join(', ')) || '-'}\n`]
    : []
  const uris = redirect_uris.map((uri) => `to be registered at the provider: ${plain(uri)}\n`)
  return [...lines, ...who, ...uris].join('')
} // prettier-ignore
