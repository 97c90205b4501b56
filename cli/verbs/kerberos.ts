import type { Command } from 'commander'
import { KerberosSettings } from '../../contract/kerberos.ts'
import { fieldErrors } from '../../contract/problem.ts'
import { fieldLine, SpecError, UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { type Column, plain, table } from '../output/table.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'

interface SetOptions extends CommonOptions {
  kdc: string[]
  domain?: string[]
}

export function kerberosVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const kerberos = program.command('kerberos').description('realms of which tasks may have tickets')
  readVerb(kerberos, 'get', 'which realms there are, and which servers give their tickets').action(
    (options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const now = await client.call('kerberos.get', { query: consistencyOf(options) })
        print(terminal, options.output, now, () => realmTable(now))
      }),
  )
  verb(kerberos, 'set <realm>', 'name a realm, or say anew which servers it has')
    .requiredOption('--kdc <host...>', 'its servers, HOST or HOST:PORT, in the order they are asked')
    .option('--domain <domain...>', 'hosts whose services are of it; .lab.example: all hosts below')
    .action((realm: string, options: SetOptions) =>
      change(tool, options, ({ realms }) => [
        ...realms.filter((known) => known.realm !== realm),
        { realm, kdcs: options.kdc, domains: options.domain ?? [] },
      ]),
    )
  verb(kerberos, 'delete <realm>', 'forget a realm: tasks get no more tickets of it').action(
    (realm: string, options: CommonOptions) =>
      change(tool, options, ({ realms }) => {
        if (!realms.some((known) => known.realm === realm))
          throw new UsageError(`there is no realm ${realm}`, 'See `submarine kerberos get`.')
        return realms.filter((known) => known.realm !== realm)
      }),
  )
}

async function change(
  tool: Tool,
  options: CommonOptions,
  changed: (now: KerberosSettings) => KerberosSettings['realms'],
): Promise<void> {
  await connected(tool, options, async ({ client }) => {
    const before = await client.call('kerberos.get', { query: {} })
    const parsed = KerberosSettings.safeParse({ realms: changed(before) })
    if (!parsed.success) throw new SpecError('the realm is not valid', fieldErrors(parsed.error).map(fieldLine))
    const now = await client.call('kerberos.set', { body: parsed.data })
    print(tool.terminal, options.output, now, () => realmTable(now))
  }) // prettier-ignore
}

function realmTable({ realms }: KerberosSettings): string {
  const columns: Column<KerberosSettings['realms'][number]>[] = [
    { title: 'REALM', cell: ({ realm }) => plain(realm) },
    { title: 'SERVERS', cell: ({ kdcs }) => plain(kdcs.join(', ')) },
    { title: 'DOMAINS', cell: ({ domains }) => plain(domains.join(', ') || '-') },
  ]
  return table(columns, realms)
}
