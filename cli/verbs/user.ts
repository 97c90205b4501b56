import { type Command, Option } from 'commander'
import type { User, UserPatch } from '../../contract/people.ts'
import { ranks } from '../../contract/permission.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { type Column, plain, properties, table } from '../output/table.ts'
import { agree, confirm, readLine } from '../prompt.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { wholeOption } from './options.ts'
import { collect } from './pages.ts'

interface Profile {
  rank?: User['rank']
  displayName?: string
  email?: string
  uid?: number
}

export function userVerbs(program: Command, tool: Tool): void {
  const user = program.command('user').description('people and their accounts')
  listAndShow(user, tool)
  makeAndEdit(user, tool)
  disableAndDelete(user, tool)
}

function listAndShow(user: Command, tool: Tool): void {
  const { terminal } = tool
  readVerb(user, 'list', 'all people').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) =>
        client.call('users.list', { query: { ...query, ...consistencyOf(options) } }),
      )
      print(terminal, options.output, page, () => table(columns, page.items))
    }),
  )
  readVerb(user, 'get <name>', 'one person').action((name: string, options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const found = await client.call('users.get', { params: { user: name }, query: consistencyOf(options) })
      print(terminal, options.output, found, () => userDetails(found))
    }),
  )
}

const withProfile = (command: Command): Command =>
  command
    .addOption(new Option('--rank <rank>', 'what they may do in the whole cluster').choices(ranks))
    .option('--display-name <text>', 'as people write it')
    .option('--email <address>', 'where they read mail')
    .option('--uid <number>', 'user and group id of their containers', wholeOption(1000, 2_147_483_646))

const profileOf = ({ rank, displayName, email, uid }: Profile): UserPatch => ({
  ...(rank ? { rank } : {}),
  ...(displayName === undefined ? {} : { display_name: displayName }),
  ...(email === undefined ? {} : { email }),
  ...(uid === undefined ? {} : { uid }),
})

function makeAndEdit(user: Command, tool: Tool): void {
  const { terminal } = tool
  withProfile(verb(user, 'create <name>', 'give a person an account, with a one-time password'))
    .option('--password-stdin', 'read the password from the first line of stdin instead')
    .option('--source <name>', 'identity provider that checks the password', 'local')
    .action((name: string, options: CommonOptions & Profile & { passwordStdin?: boolean; source: string }) =>
      connected(tool, options, async ({ client }) => {
        const password = options.passwordStdin ? { password: await readLine(terminal) } : {}
        const body = { name, ...profileOf(options), source: options.source, ...password }
        const made = await client.call('users.create', { body })
        print(terminal, options.output, made, () => userDetails(made) + oneTime(made.one_time_password))
      }),
    )
  withProfile(verb(user, 'edit <name>', 'change what is known of a person')).action(
    (name: string, options: CommonOptions & Profile) => {
      const body = profileOf(options)
      if (!Object.keys(body).length)
        throw new UsageError('nothing to change', 'Give --rank, --display-name, --email or --uid.')
      return edit(tool, name, body, options)
    },
  )
  verb(user, 'reset-password <name>', 'give a person a new one-time password; their sign-ins end').action(
    (name: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const made = await client.call('users.reset_password', { params: { user: name } })
        print(terminal, options.output, { user: name, ...made }, () => oneTime(made.one_time_password))
      }),
  )
}

function disableAndDelete(user: Command, tool: Tool): void {
  const { terminal } = tool
  verb(user, 'disable <name>', 'keep the account, but let nobody use it; their tokens end').action(
    (name: string, options: CommonOptions) => edit(tool, name, { disabled: true }, options),
  )
  verb(user, 'enable <name>', 'let a disabled account be used again').action(
    (name: string, options: CommonOptions) => edit(tool, name, { disabled: false }, options),
  )
  verb(user, 'delete <name>', 'remove a person with their tokens and memberships; their work stays')
    .option('--yes', 'without asking')
    .action((name: string, options: CommonOptions & { yes?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const question = () => confirm(terminal, `Delete the account of ${plain(name)}? The name is not given to anybody again.`)
        await agree(terminal, 'user delete', { yes: options.yes, question })
        await client.call('users.delete', { params: { user: name } })
        print(terminal, options.output, { user: name, deleted: true }, () => `${plain(name)} deleted\n`)
      }),
    ) // prettier-ignore
}

const edit = (tool: Tool, name: string, body: UserPatch, options: CommonOptions): Promise<void> =>
  connected(tool, options, async ({ client }) => {
    const edited = await client.call('users.edit', { params: { user: name }, body })
    print(tool.terminal, options.output, edited, () => userDetails(edited))
  })

const oneTime = (password: string | null): string =>
  password === null
    ? ''
    : `\nOne-time password, shown this once: ${password}\nAt the first sign-in another one is to be chosen.\n`

const columns: Column<User>[] = [
  { title: 'NAME', cell: ({ name }) => plain(name) },
  { title: 'RANK', cell: ({ rank }) => rank },
  { title: 'STATE', cell: stateOf },
  { title: 'TEAMS', cell: ({ teams = [] }) => plain(teams.map(({ team }) => team).join(', ')) || '-' },
  { title: 'DISPLAY NAME', cell: ({ display_name }) => plain(display_name ?? '-') },
  { title: 'LAST SIGN-IN', cell: ({ last_sign_in }) => last_sign_in ?? '-' },
]

function stateOf({ disabled, must_change }: User): string {
  if (disabled) return 'disabled'
  return must_change ? 'one-time password' : 'active'
}

export function userDetails(user: User): string {
  const { name, rank, display_name, email, source, uid, teams = [], created_at, last_sign_in } = user
  return properties([
    ['name', plain(name)],
    ['rank', rank],
    ['state', stateOf(user)],
    ['display name', plain(display_name ?? '-')],
    ...(email === undefined ? [] : [['email', plain(email)] as const]),
    ...(source === undefined ? [] : [['password kept by', source === 'local' ? 'this cluster' : plain(source)] as const]),
    ...(uid === undefined ? [] : [['user id', String(uid)] as const]),
    ['teams', plain(teams.map(({ team, rank: inTeam }) => `${team} (${inTeam})`).join(', ')) || '-'],
    ['created', created_at],
    ...(last_sign_in === undefined ? [] : [['last sign-in', last_sign_in ?? '-'] as const]),
  ]) // prettier-ignore
}
