import { type Command, Option } from 'commander'
import type { Team } from '../../contract/people.ts'
import { type TeamRank, teamRanks } from '../../contract/permission.ts'
import { print } from '../output/print.ts'
import { agree, confirm } from '../prompt.ts'
import { type Column, plain, properties, table } from '../output/table.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { repeated } from './options.ts'
import { collect } from './pages.ts'

interface TeamOptions extends CommonOptions {
  description?: string
  group?: string[]
}

export function teamVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const team = program.command('team').description('teams: shared work, quotas and shares')
  readVerb(team, 'list', 'all teams').action((options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const page = await collect((query) =>
        client.call('teams.list', { query: { ...query, ...consistencyOf(options) } }),
      )
      print(terminal, options.output, page, () => table(columns, page.items))
    }),
  )
  readVerb(team, 'get <name>', 'one team with its members').action((name: string, options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const found = await client.call('teams.get', { params: { team: name }, query: consistencyOf(options) })
      print(terminal, options.output, found, () => teamDetails(found))
    }),
  )
  verb(team, 'put <name>', 'make a team, or change what is given')
    .option('--description <text>', 'what it is for')
    .option('--group <name>', 'people of this group of an identity provider are members (repeatable)', repeated)
    .action((name: string, { description, group: groups, ...options }: TeamOptions) =>
      connected(tool, options, async ({ client }) => {
        const body = { ...(description === undefined ? {} : { description }), ...(groups ? { groups } : {}) }
        const made = await client.call('teams.put', { params: { team: name }, body })
        print(terminal, options.output, made, () => teamDetails(made))
      }),
    ) // prettier-ignore
  memberVerbs(team, tool)
  verb(team, 'delete <name>', 'delete a team of which nothing runs or waits')
    .option('--yes', 'without asking')
    .action((name: string, options: CommonOptions & { yes?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const question = () => confirm(terminal, `Delete the team ${plain(name)}?`)
        await agree(terminal, 'team delete', { yes: options.yes, question })
        await client.call('teams.delete', { params: { team: name } })
        print(terminal, options.output, { team: name, deleted: true }, () => `${plain(name)} deleted\n`)
      }),
    )
}

function memberVerbs(team: Command, tool: Tool): void {
  const { terminal } = tool
  verb(team, 'add <team> <user>', 'make somebody a member, or give a member another rank')
    .addOption(new Option('--rank <rank>', 'what they may do with its work').choices(teamRanks).default('member'))
    .action((name: string, user: string, { rank, ...options }: CommonOptions & { rank: TeamRank }) =>
      connected(tool, options, async ({ client }) => {
        const params = { team: name, user }
        const changed = await client.call('teams.set_member', { params, body: { rank } })
        print(terminal, options.output, changed, () => teamDetails(changed))
      }),
    ) // prettier-ignore
  verb(team, 'remove <team> <user>', 'take somebody out of a team; everybody may leave').action(
    (name: string, user: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        await client.call('teams.remove_member', { params: { team: name, user } })
        const said = { team: name, user, removed: true }
        print(terminal, options.output, said, () => `${plain(user)} is out of ${plain(name)}\n`)
      }),
  )
}

const columns: Column<Team>[] = [
  { title: 'NAME', cell: ({ name }) => plain(name) },
  { title: 'MEMBERS', cell: ({ members }) => String(members.length) },
  { title: 'ADMINS', cell: ({ members }) => plain(members.filter(({ rank }) => rank === 'admin').map(({ user }) => user).join(', ')) || '-' },
  { title: 'DESCRIPTION', cell: ({ description }) => plain(description) },
] // prettier-ignore

function teamDetails({ name, description, members, groups, created_at }: Team): string {
  return properties([
    ['name', plain(name)],
    ['description', plain(description) || '-'],
    ['members', plain(members.map(({ user, rank }) => `${user} (${rank})`).join(', ')) || '-'],
    ['groups', plain(groups.join(', ')) || '-'],
    ['created', created_at],
  ])
}
