import type { Command } from 'commander'
import type { Authority } from '../../contract/objects.ts'
import { loadConfig, saveConfig } from '../connection/config.ts'
import { type Connection, memberOrigins } from '../connection/open.ts'
import { formatFingerprint } from '../connection/trust.ts'
import { clusterDetails, eventLine, nodeDetails, nodeTable } from '../output/describe.ts'
import { print, printItem } from '../output/print.ts'
import { counted, plain, properties } from '../output/table.ts'
import { agree, confirm } from '../prompt.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { watchEvents } from '../connection/watch.ts'
import { learnMembers } from '../connection/open.ts'
import { collect } from './pages.ts'
import { wholeOption } from './options.ts'
import { nodeOperationVerbs } from './node-operations.ts'
import { backupVerbs } from './backup.ts'
import { monitoringVerbs } from './monitoring.ts'
import { recoveryVerbs } from './recovery.ts'

export function clusterVerbs(program: Command, tool: Tool): void {
  const cluster = program.command('cluster').description('the cluster as a whole')
  readVerb(cluster, 'status', 'members, leader, health').action((options: CommonOptions) =>
    connected(tool, options, async (connection) => {
      const status = await connection.client.call('cluster.get', { query: consistencyOf(options) })
      await refreshAddresses(tool, connection)
      print(tool.terminal, options.output, status, () => clusterDetails(tool.terminal, status))
    }),
  )
  verb(cluster, 'token', 'a one-use token with which one host joins').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const made = await client.call('joinTokens.create', {})
      print(tool.terminal, options.output, made, () =>
        properties([
          ['token', made.token],
          ['expires', made.expires_at],
        ]),
      )
      tool.terminal.err(
        `On the new host, run:\n  submarine agent start --data /var/lib/submarine --join ${made.token}\n`,
      )
    }),
  )
  verb(cluster, 'rotate-key', 'replace the key that protects secrets; all voters must be up').action(
    (options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        await client.call('cluster.rotate_key', {})
        const done = 'The cluster key was replaced; secrets and other credentials are kept by the new one.\n'
        print(tool.terminal, options.output, { rotated: true }, () => done)
      }),
  )
  authorityVerb(cluster, tool)
  monitoringVerbs(cluster, tool)
  backupVerbs(cluster, tool)
  recoveryVerbs(cluster, tool)
}

export function nodeVerbs(program: Command, tool: Tool): void {
  const node = program.command('node').description('hosts of the cluster')
  readVerb(node, 'list', 'all nodes with their live figures').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) =>
        client.call('nodes.list', { query: { ...query, ...consistencyOf(options) } }),
      )
      print(tool.terminal, options.output, page, () => nodeTable(tool.terminal, page.items))
    }),
  )
  readVerb(node, 'get <name>', 'one node, by name or id').action((name: string, options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const found = await client.call('nodes.get', { params: { node: name }, query: consistencyOf(options) })
      print(tool.terminal, options.output, found, () => nodeDetails(tool.terminal, found))
    }),
  )
  nodeOperationVerbs(node, tool)
  verb(node, 'remove <name>', 'remove a node for good, by name or id; its agent stops and cannot come back')
    .option('--force', 'although it runs tasks (they count as failed) or holds the only copy of something')
    .option('--yes', 'do not ask')
    .action((name: string, options: CommonOptions & { force?: boolean; yes?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        // Looked up first: a repeat after an answer that was lost would find nothing.
        const found = await client.call('nodes.get', { params: { node: name } })
        const ends = found.tasks ? `, ends ${counted(found.tasks, 'task')} there` : ''
        const question = () =>
          confirm(tool.terminal, `This removes ${plain(found.name)} (${found.id}) for good${ends}. Go on?`)
        await agree(tool.terminal, 'node remove', { yes: options.yes, question })
        const query = { force: options.force ? ('1' as const) : ('0' as const) }
        await client.call('nodes.remove', { params: { node: found.id }, query })
        const removed = { id: found.id, name: found.name, removed: true }
        print(tool.terminal, options.output, removed, () => `${plain(found.name)} (${found.id}) removed\n`)
        if (found.role === 'voter') tool.terminal.err(keysOf(found.name))
      }),
    )
}

function authorityVerb(cluster: Command, tool: Tool): void {
  verb(cluster, 'rotate-ca', "replace the authority that signs the agents' certificates")
    .option('--finish', 'the old one counts no more, although some nodes have no new certificate yet')
    .action((options: CommonOptions & { finish?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const route = options.finish ? 'cluster.finish_ca' : 'cluster.rotate_ca'
        const authority = await client.call(route, {})
        print(tool.terminal, options.output, authority, () => authorityText(authority))
      }),
    )
}

function authorityText({ ca_sha256, former_sha256, waiting }: Authority): string {
  const known = `The cluster's CA certificate has the SHA-256 fingerprint\n  ${formatFingerprint(ca_sha256)}\n`
  if (former_sha256 === null) return `${known}The old one counts no more.\n`
  const names = plain(waiting.join(', '))
  return `${known}The old one counts until all nodes have new certificates, in a moment where agents run: ${names}.\n`
}

/** A voter's disk holds what opens every secret, and what signs certificates in anybody's name. */
const keysOf = (name: string) =>
  `${plain(name)} was a voter: its disk holds the cluster key, and with it the key of the certificate authority. If anybody else may\n` +
  'come by that disk, run `submarine cluster rotate-key` and `submarine cluster rotate-ca`, and replace the secrets that they could\n' +
  'have read (docs/secrets.md).\n'

export function eventVerbs(program: Command, tool: Tool): void {
  const event = program.command('event').description('what happened')
  readVerb(event, 'list', 'what happened in the cluster, oldest first')
    .option('-w, --watch', 'go on with what happens from now')
    .option('--limit <n>', 'how many of the newest', wholeOption(1, 10_000), 50)
    .action((options: CommonOptions & { watch?: boolean; limit: number }) =>
      connected(tool, options, async (connection) => {
        const { client } = connection
        const { terminal } = tool
        const page = await collect(
          (query) => client.call('events.list', { query: { ...query, ...consistencyOf(options) } }),
          options.limit,
        )
        const items = page.items.toReversed()
        if (!options.watch)
          return print(terminal, options.output, { ...page, items }, () => items.map(eventLine).join(''))
        await learnMembers(connection)
        const show = (item: (typeof items)[number]) =>
          printItem(terminal, options.output, item, () => eventLine(item))
        items.forEach(show)
        const seen = new Set(items.map((item) => item.id))
        for await (const item of watchEvents(client, page.resource_version, seen)) show(item)
      }),
    )
}

/** Hosts come and go: the stored context follows, so that fail-over finds the agents of today. */
async function refreshAddresses(tool: Tool, { client, transport }: Connection): Promise<void> {
  const config = await loadConfig(tool.terminal)
  const used = transport.addresses[0]
  const context = config.contexts.find((c) => used !== undefined && c.addresses[0] === used)
  if (!context?.ca) return
  const fresh = [...new Set([context.addresses[0] ?? '', ...(await memberOrigins(client))])]
  if (fresh.join() === context.addresses.join()) return
  context.addresses = fresh
  await saveConfig(tool.terminal, config)
}
