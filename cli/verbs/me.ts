import { Argument, type Command } from 'commander'
import { askedKinds } from '../../contract/people-routes.ts'
import { type Action, actions } from '../../contract/permission.ts'
import { exitCode, UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { askPassword, readLines } from '../prompt.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { userDetails } from './user.ts'

/** What concerns oneself. */
export function meVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  verb(program, 'whoami', 'who you are to the cluster').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const me = await client.call('me.get', {})
      print(terminal, options.output, me, () => userDetails(me))
    }),
  )
  verb(program, 'passwd', 'choose another password; your other sign-ins end')
    .option('--password-stdin', 'read the old and the new one from the first two lines of stdin')
    .action((options: CommonOptions & { passwordStdin?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const [old, next] = options.passwordStdin
          ? await readLines(terminal, 2)
          : [await asked(terminal, 'Present password: '), await newPassword(terminal)]
        await client.call('me.set_password', { body: { old, new: next } })
        terminal.err('The password is changed; your other sign-ins have ended.\n')
      }),
    )
  verb(program, 'can-i', 'may you do that? Exit code 0: yes, 4: no')
    .addArgument(new Argument('<action>', 'such as experiment:create').choices(actions))
    .addArgument(new Argument('[kind]', 'with one').choices(askedKinds))
    .argument('[id]', 'its id')
    .action(
      (
        action: Action,
        kind: (typeof askedKinds)[number] | undefined,
        id: string | undefined,
        options: CommonOptions,
      ) =>
        connected(tool, options, async ({ client }) => {
          if (kind !== undefined && id === undefined)
            throw new UsageError(`which ${kind}?`, 'Give its id after it.')
          const body = { action, ...(kind && id ? { object: { kind, id } } : {}) }
          const { allowed } = await client.call('auth.can_i', { body })
          print(terminal, options.output, { action, ...body.object, allowed }, () => (allowed ? 'yes\n' : 'no\n')) // prettier-ignore
          if (!allowed) process.exitCode = exitCode.auth
        }),
    )
}

/** Asked for twice: nobody sees what is typed. */
export async function newPassword(terminal: Terminal): Promise<string> {
  const first = await asked(terminal, 'New password (at least 10 characters): ')
  if ((await asked(terminal, 'The same again: ')) !== first)
    throw new UsageError('the two are not the same', 'Nothing was changed; try again.')
  return first
}

function asked(terminal: Terminal, question: string): Promise<string> {
  if (terminal.interactive) return askPassword(terminal, question)
  throw new UsageError('nobody can be asked for a password', 'Give it on stdin with --password-stdin.')
}
