import { type Command, Option } from 'commander'
import type { Sharing } from '../../contract/people.ts'
import { type Level, levels, visibilities, type Visibility } from '../../contract/permission.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { plain } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { repeated } from './options.ts'
import { findExperiment } from './resolve.ts'

interface ShareOptions extends CommonOptions {
  visibility?: Visibility
  with?: string[]
  level: Level
  without?: string[]
}

export function shareVerb(experiment: Command, tool: Tool): void {
  const { terminal } = tool
  verb(experiment, 'share <id>', 'who besides you sees it, and what they may do')
    .addOption(
      new Option('--visibility <who>', 'private, its team (which reads and runs it), or everyone (who read it)').choices(visibilities),
    )
    .option('--with <who>', 'share it with user:NAME or team:NAME (repeatable)', repeated)
    .addOption(new Option('--level <level>', 'what those of --with may do').choices(levels).default('read'))
    .option('--without <who>', 'share it with user:NAME or team:NAME no longer (repeatable)', repeated)
    .action((id: string, options: ShareOptions) =>
      connected(tool, options, async ({ client }) => {
        const { visibility, with: added = [], without = [], level } = options
        if (!visibility && !added.length && !without.length)
          throw new UsageError('nothing to change', 'Give --visibility, --with or --without.')
        const found = await findExperiment(client, id)
        const before: Sharing = found.sharing ?? { visibility: 'private', shares: [] }
        const others = before.shares.filter((share) => ![...added, ...without].includes(share.with))
        const body = {
          visibility: visibility ?? before.visibility,
          shares: [...others, ...added.map((who) => ({ with: who, level }))],
        }
        const shared = await client.call('experiments.share', { params: { experiment: found.id }, body })
        print(terminal, options.output, shared, () => `${found.id}: ${sharingText(shared)}\n`)
      }),
    )
} // prettier-ignore

export function sharingText({ visibility, shares }: Sharing): string {
  const seen = { private: 'private', team: 'its team', everyone: 'everyone' }[visibility]
  return plain([seen, ...shares.map((share) => `${share.with} (${share.level})`)].join(', '))
}
