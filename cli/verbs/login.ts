import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { Client } from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'
import { isLoopback, originOf } from '../connection/address.ts'
import { type Context, findContext, loadConfig, saveConfig, withContext } from '../connection/config.ts'
import { connect, memberOrigins, type Target } from '../connection/open.ts'
import {
  type Authority,
  fetchUnverifiedAuthority,
  formatFingerprint,
  readAuthority,
  readFingerprint,
} from '../connection/trust.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { plain, table } from '../output/table.ts'
import { askPassword, confirm, readLine } from '../prompt.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, type Tool, withOutput } from '../tool.ts'
import { signInByBrowser } from './device.ts'
import { newPassword } from './me.ts'
import { nameOption } from './options.ts'

interface LoginOptions extends CommonOptions {
  user: string
  passwordStdin?: boolean
  provider?: string
  ca?: string
  trustFingerprint?: string
  name?: string
}

export function loginVerbs(program: Command, tool: Tool): void {
  withOutput(program.command('login <address>'))
    .description('sign in to a cluster through any of its agents')
    .option('--user <name>', 'user name', 'admin')
    .option('--provider <name>', 'sign in by this OpenID Connect provider, in a browser on any machine')
    .option('--password-stdin', 'read the password from the first line of stdin')
    .option('--ca <file>', "trust the cluster's CA certificate in this file")
    .option('--trust-fingerprint <sha256>', 'trust the CA certificate with this fingerprint')
    .option('--name <context>', "name to keep it under (default: the cluster's)", nameOption)
    .action((address: string, options: LoginOptions) => login(tool, address, options))
  program
    .command('logout')
    .description('sign out and forget the token')
    .option('--context <name>', 'of this cluster instead of the current one')
    .action((options: { context?: string }) => logout(tool, options.context))
  contextVerbs(program, tool)
}

async function login(tool: Tool, address: string, options: LoginOptions): Promise<void> {
  const { terminal } = tool
  if (options.ca && options.trustFingerprint)
    throw new UsageError('give --ca or --trust-fingerprint, not both')
  const origin = originOf(address)
  const authority = await trustedAuthority(terminal, origin, options)
  const target: Target = { addresses: [origin], ca: authority.pem }
  const password = options.provider === undefined ? await passwordOf(terminal, options) : ''
  const { transport, client } = connect(terminal, target)
  try {
    const version = await client.call('version.get', {})
    if (version.ca_sha256 !== authority.sha256)
      throw new ProblemError('internal', 'the agent names another CA certificate than the trusted one', {
        hint: 'Ask an admin of the cluster for the right fingerprint.',
      })
    const signedIn = await (options.provider === undefined
      ? client.call('session.create', { body: { user: options.user, password } })
      : signInByBrowser(terminal, client, options.provider))
    const session = connect(terminal, { ...target, token: signedIn.token })
    const origins = await originsFor(session.client, {
      terminal,
      password,
      once: signedIn.must_change === true,
    }).finally(() => session.transport.close())
    const context: Context = {
      name: options.name ?? version.cluster.name,
      cluster: version.cluster,
      addresses: [...new Set([origin, ...origins])],
      ca: authority.pem,
      user: signedIn.user,
      token: signedIn.token,
      expires_at: signedIn.expires_at,
    }
    await saveConfig(terminal, withContext(await loadConfig(terminal), context))
    const { token: _token, ...shown } = context
    print(terminal, options.output, shown, () => '')
    terminal.err(`Signed in to ${plain(context.cluster.name)} as ${plain(context.user)}.\n`)
  } finally {
    await transport.close()
  }
}

/** Where the other agents are, which one learns only once the password is one's own. */
async function originsFor(
  client: Client,
  { terminal, password, once }: { terminal: Terminal; password: string; once: boolean },
): Promise<string[]> {
  if (once && !(await chosePassword(terminal, client, password))) return []
  return memberOrigins(client)
}

/** With a one-time password nothing else can be done before another one is chosen. */
async function chosePassword(terminal: Terminal, client: Client, old: string): Promise<boolean> {
  if (!terminal.interactive) {
    terminal.err('The password is a one-time one: choose another with `submarine passwd`.\n')
    return false
  }
  terminal.err('The password is a one-time one.\n')
  await client.call('me.set_password', { body: { old, new: await newPassword(terminal) } })
  return true
}

/** Trust comes from a file, a fingerprint, or a person who compares; never from the network alone. */
async function trustedAuthority(
  terminal: Terminal,
  origin: string,
  options: LoginOptions,
): Promise<Authority> {
  if (options.ca) return readAuthority(await readFile(options.ca, 'utf8'), options.ca)
  const wanted = options.trustFingerprint && readFingerprint(options.trustFingerprint)
  const shown = await fetchUnverifiedAuthority(origin).catch((error: unknown) => {
    if (error instanceof UsageError) throw error
    throw new ProblemError('no_leader', `no agent answers at ${origin}`, {
      hint: otherScheme(origin, error) ?? 'Check the address, and that the agent runs.',
      cause: error,
    })
  })
  if (wanted !== undefined) {
    if (wanted === shown.sha256) return shown
    throw new ProblemError(
      'bad_credentials',
      `the agent's CA has another fingerprint: ${formatFingerprint(shown.sha256)}`,
      { hint: 'Somebody may stand between you and the cluster. Ask an admin for the right fingerprint.' },
    )
  }
  // What this machine says about itself needs no witness.
  if (origin.startsWith('http:') && isLoopback(new URL(origin).hostname)) return shown
  terminal.err(
    `The cluster's CA certificate has the SHA-256 fingerprint\n  ${formatFingerprint(shown.sha256)}\n`,
  )
  if (!terminal.interactive)
    throw new UsageError(
      'nobody can be asked whether to trust it',
      'Give --trust-fingerprint or --ca; an agent prints the fingerprint when it starts.',
    )
  if (await confirm(terminal, 'Does an admin of the cluster, or the agent at its start, show the same?'))
    return shown
  throw new UsageError('not trusted; nothing was sent')
}

/** Whoever speaks plain HTTP to a TLS port, or TLS to a plain one, is told so. */
function otherScheme(origin: string, error: unknown): string | undefined {
  const { host, protocol } = new URL(origin)
  const { code, message = '' } = ((error as Error).cause ?? error) as NodeJS.ErrnoException
  if (
    protocol === 'https:' &&
    (code === 'ERR_SSL_WRONG_VERSION_NUMBER' ||
      code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG' ||
      /wrong version number/i.test(message))
  )
    return `That port speaks plain HTTP: try http://${host}.`
  if (
    protocol === 'http:' &&
    (code === 'ECONNRESET' || code === 'UND_ERR_SOCKET' || code?.startsWith('HPE_'))
  )
    return `That port may speak HTTPS only: try https://${host}.`
  return undefined
}

async function passwordOf(terminal: Terminal, options: LoginOptions): Promise<string> {
  if (options.passwordStdin) return readLine(terminal)
  if (terminal.interactive) return askPassword(terminal, `Password of ${options.user}: `)
  throw new UsageError('nobody can be asked for the password', 'Give it on stdin with --password-stdin.')
}

async function logout(tool: Tool, name: string | undefined): Promise<void> {
  const { terminal } = tool
  const config = await loadConfig(terminal)
  const chosen = name ?? config.current
  if (!chosen) throw new ProblemError('unauthenticated', 'not signed in to any cluster', { hint: '' })
  const context = findContext(config, chosen)
  const { client, transport } = connect(terminal, context)
  delete context.token
  delete context.expires_at
  try {
    await client.call('session.delete', {})
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    if (error.code !== 'unauthenticated')
      terminal.err(`warning: the cluster was not told (${error.message}); the token ends by itself.\n`)
  } finally {
    await transport.close()
    await saveConfig(terminal, config)
  }
  terminal.err(`Signed out of ${plain(context.cluster.name)}.\n`)
}

function contextVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const context = program.command('context').description('clusters signed in to')
  withOutput(context.command('list'))
    .description('all of them')
    .action(async (options: CommonOptions) => {
      const { current, contexts } = await loadConfig(terminal)
      const items = contexts.map(({ token, ca: _ca, ...rest }) => ({
        ...rest,
        current: rest.name === current,
        signed_in: token !== undefined,
      }))
      print(terminal, options.output, { items }, () =>
        table<(typeof items)[number]>(
          [
            { title: 'CURRENT', cell: (c) => (c.current ? '*' : '') },
            { title: 'NAME', cell: (c) => plain(c.name) },
            { title: 'USER', cell: (c) => plain(c.user) },
            { title: 'SIGNED IN', cell: (c) => (c.signed_in ? 'yes' : 'no') },
            { title: 'ADDRESSES', cell: (c) => plain(c.addresses.join(' ')) },
          ],
          items,
        ),
      )
    })
  context
    .command('use <name>')
    .description('make one the current one')
    .action(async (name: string) => {
      const config = await loadConfig(terminal)
      config.current = findContext(config, name).name
      await saveConfig(terminal, config)
      terminal.err(`Now using ${name}.\n`)
    })
}
