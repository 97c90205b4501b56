import { type Command, Option } from 'commander'
import { formatDuration } from '../contract/duration.ts'
import { followAuthority } from './connection/follow-authority.ts'
import { type Connection, openConnection } from './connection/open.ts'
import type { AgentModule } from './agent-module.ts'
import { type Format, formats } from './output/print.ts'
import type { Terminal } from './terminal.ts'

/** What every verb is given. */
export interface Tool {
  readonly terminal: Terminal
  /** Only the entry may reach into the agent, and only when it is asked for. */
  readonly loadAgent: () => Promise<AgentModule>
}

/** Options that every verb talking to a cluster has. */
export interface CommonOptions {
  output: Format
  context?: string
  local?: boolean
}

/** A verb that talks to the cluster and prints objects. */
export function verb(parent: Command, usage: string, summary: string): Command {
  return withOutput(parent.command(usage).description(summary)).option(
    '--context <name>',
    'use this signed-in cluster (see: submarine context list)',
  )
}

/** A verb that only reads: without a leader, an agent's own copy can be asked for. */
export const readVerb = (parent: Command, usage: string, summary: string): Command =>
  verb(parent, usage, summary).option(
    '--local',
    "read one agent's own copy, which may be old; works without a leader",
  )

/** The query parameter that `--local` stands for. */
export const consistencyOf = ({ local }: Pick<CommonOptions, 'local'>): { consistency?: 'local' } =>
  local ? { consistency: 'local' } : {}

export const withOutput = (command: Command): Command =>
  command.addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('table'))

/** Verbs that follow something over hours do not end because hosts are restarted meanwhile. */
interface Following {
  readonly wait?: boolean
  readonly waitTimeout?: number
  readonly follow?: boolean
  readonly watch?: boolean
}
const followPatienceMs = 5 * 60_000

/** Run a job over a connection that is closed in the end. */
export async function connected<T>(
  tool: Tool,
  options: Pick<CommonOptions, 'context' | 'local'> & Following,
  job: (connection: Connection) => Promise<T>,
): Promise<T> {
  const follows = options.wait || options.waitTimeout !== undefined || options.follow || options.watch
  const connection = await openConnection(
    tool.terminal,
    options.context,
    follows ? followPatienceMs : undefined,
  )
  try {
    const done = await job(connection)
    // The work is done, and the old one goes on to do: another time, then.
    await followAuthority(tool.terminal, connection).catch(() => undefined)
    if (options.local) tool.terminal.err(ageLine(connection.transport.copyAge))
    return done
  } finally {
    await connection.transport.close()
  }
}

function ageLine(age: number | 'unknown' | undefined): string {
  if (typeof age === 'number') return `as of ${formatDuration(age)} ago\n`
  return 'as of an unknown time: the agent has had no leader since it started\n'
}
