import type { Command } from 'commander'
import { print } from '../output/print.ts'
import { properties } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { wholeOption } from './options.ts'

export function monitoringVerbs(cluster: Command, tool: Tool): void {
  verb(cluster, 'monitor-token', 'a token with which Prometheus reads the metrics of every agent')
    .option('--days <n>', 'how long it is good', wholeOption(1, 3650), 365)
    .option('--revoke', 'take back every such token instead')
    .action((options: CommonOptions & { days: number; revoke?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        if (options.revoke) {
          await client.call('monitorTokens.revoke', {})
          return print(tool.terminal, options.output, { revoked: true }, () => 'All monitor tokens revoked\n')
        }
        const made = await client.call('monitorTokens.create', { query: { days: options.days } })
        return print(tool.terminal, options.output, made, () =>
          properties([
            ['token', made.token],
            ['expires', made.expires_at],
          ]),
        )
      }),
    )
}
