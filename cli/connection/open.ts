import { readFile } from 'node:fs/promises'
import { type Client, createClient } from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'
import { UsageError } from '../failure.ts'
import type { Terminal } from '../terminal.ts'
import { isLoopback, originOf } from './address.ts'
import { type Config, type Context, findContext, loadConfig } from './config.ts'
import { Transport } from './transport.ts'
import { readAuthority } from './trust.ts'

export interface Connection {
  readonly client: Client
  readonly transport: Transport
  readonly user: string | undefined
}

/** Where to go, whom to trust, who to be: SUBMARINE_* first, then the named or the current context. */
export interface Target {
  addresses: string[]
  ca?: string | undefined
  token?: string | undefined
  user?: string | undefined
}

/** `laterPatienceMs`: how long an agent or a leader is waited for once one answered, unless SUBMARINE_PATIENCE_SECONDS says. */
export async function openConnection(
  terminal: Terminal,
  context?: string,
  laterPatienceMs?: number,
): Promise<Connection> {
  const target = await resolveTarget(terminal, await loadConfig(terminal), context)
  return connect(terminal, target, laterPatienceMs)
}

export function connect(terminal: Terminal, target: Target, laterPatienceMs?: number): Connection {
  const seconds = Number(terminal.env.SUBMARINE_PATIENCE_SECONDS)
  const transport = new Transport({
    ...target,
    ...(seconds > 0 ? { patienceMs: seconds * 1000 } : { laterPatienceMs }),
    onWait: (what) => terminal.err(`${what}\n`),
  })
  return { client: createClient(transport.send), transport, user: target.user }
}

export async function resolveTarget(terminal: Terminal, config: Config, name?: string): Promise<Target> {
  const { SUBMARINE_API, SUBMARINE_TOKEN, SUBMARINE_CA } = terminal.env
  // Tasks are given SUBMARINE_API: within one, the command reaches its own cluster at once.
  const address = terminal.env.SUBMARINE_ADDRESS ?? SUBMARINE_API
  const ca = SUBMARINE_CA ? readAuthority(await readFile(SUBMARINE_CA, 'utf8'), SUBMARINE_CA).pem : undefined
  if (address && !name) return fromEnvironment(address.split(',').map(originOf), config, SUBMARINE_TOKEN, ca)
  const chosen = name ?? config.current
  if (!chosen)
    throw new ProblemError('unauthenticated', 'not signed in to any cluster', {
      hint: 'Run `submarine login ADDRESS` first.',
    })
  const context = findContext(config, chosen)
  return {
    ...targetOf(context),
    ...(ca ? { ca } : {}),
    ...(SUBMARINE_TOKEN ? { token: SUBMARINE_TOKEN } : {}),
  }
}

/** A stored token goes only to the cluster it came from, whatever address the environment names. */
function fromEnvironment(addresses: string[], config: Config, token?: string, ca?: string): Target {
  const context = config.contexts.find((c) => addresses.every((address) => c.addresses.includes(address)))
  const target: Target = {
    addresses,
    ca: ca ?? context?.ca,
    token: token ?? context?.token,
    user: token ? undefined : context?.user,
  }
  const https = addresses.find((address) => address.startsWith('https:'))
  if (https && !target.ca)
    throw new UsageError(
      `no certificate authority is known for ${https}`,
      'Set SUBMARINE_CA to the file of its CA certificate, or run `submarine login`.',
    )
  return target
}

const targetOf = (context: Context): Target => ({
  addresses: context.addresses,
  ca: context.ca,
  token: context.token,
  user: context.user,
})

/** Origins of all members, so that work goes on when the agent first named is gone. */
export async function memberOrigins(client: Client): Promise<string[]> {
  const cluster = await client.call('cluster.get', { query: { consistency: 'local' } })
  return cluster.members.filter((m) => m.address).map((m) => originOf(`https://${m.address}`))
}

/** Before long work: learn the other agents. What cannot be learnt only narrows the fail-over. */
export async function learnMembers({ client, transport }: Connection): Promise<void> {
  try {
    const origins = await memberOrigins(client)
    const current = transport.addresses
    const onlyPlain = current.every((o) => o.startsWith('http:') && isLoopback(new URL(o).hostname))
    const ca = onlyPlain ? await (await client.raw('ca.get', {})).text() : undefined
    transport.learn(origins, ca)
  } catch (error) {
    if (error instanceof ProblemError && error.code === 'unauthenticated') throw error
  }
}
