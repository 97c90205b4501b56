import { type Command, Option } from 'commander'
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
}

/** A verb that talks to the cluster and prints objects. */
export function verb(parent: Command, usage: string, summary: string): Command {
  return withOutput(parent.command(usage).description(summary)).option(
    '--context <name>',
    'use this signed-in cluster (see: submarine context list)',
  )
}

export const withOutput = (command: Command): Command =>
  command.addOption(new Option('-o, --output <format>', 'output format').choices(formats).default('table'))

/** Run a job over a connection that is closed in the end. */
export async function connected<T>(
  tool: Tool,
  options: Pick<CommonOptions, 'context'>,
  job: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await openConnection(tool.terminal, options.context)
  try {
    return await job(connection)
  } finally {
    await connection.transport.close()
  }
}
