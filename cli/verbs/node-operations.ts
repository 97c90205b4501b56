import { type Command, InvalidArgumentError } from 'commander'
import type { Node } from '../../contract/nodes.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { plain } from '../output/table.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { durationOption, nameOption } from './options.ts'

/** What an admin does with a host. */
export function nodeOperationVerbs(node: Command, tool: Tool): void {
  cordonVerbs(node, tool)
  drainVerbs(node, tool)
  nameVerbs(node, tool)
  verb(
    node,
    'confirm-down <name>',
    'vouch that a silent host does not run: what is on hold there is released',
  )
    .addHelpText(
      'after',
      '\nOnly when you know that the host is off: what it still runs would run twice. What may be tried again is,\nthe rest fails. The cluster keeps who said so.',
    )
    .action((name: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const done = await client.call('nodes.confirm_down', { params: { node: name } })
        print(tool.terminal, options.output, done, () => `${plain(done.name)} counts as down\n`)
      }),
    )
}

function cordonVerbs(node: Command, tool: Tool): void {
  verb(node, 'cordon <name>', 'it takes nothing new; what runs goes on')
    .option('--reason <text>', 'for the people who wonder')
    .action((name: string, { reason = '', ...options }: CommonOptions & { reason?: string }) =>
      connected(tool, options, async ({ client }) => {
        const done = await client.call('nodes.cordon', { params: { node: name }, body: { reason } })
        print(tool.terminal, options.output, done, () => `${plain(done.name)} takes nothing new\n`)
      }),
    )
  verb(node, 'uncordon <name>', 'it takes new work again').action((name: string, options: CommonOptions) =>
    connected(tool, options, async ({ client }) => {
      const done = await client.call('nodes.uncordon', { params: { node: name } })
      print(tool.terminal, options.output, done, () => `${plain(done.name)} takes new work\n`)
    }),
  )
}

/** At most an hour; none at all is a grace too. */
function graceOption(text: string): number {
  const seconds = /^0+\s*(s|secs?|seconds?)?$/.test(text) ? 0 : durationOption(text)
  if (seconds <= 3600) return seconds
  throw new InvalidArgumentError('expected at most 1h.')
}

interface DrainOptions extends CommonOptions {
  reason?: string
  deadline?: number
  grace?: number
  powerOff?: boolean
}

function drainVerbs(node: Command, tool: Tool): void {
  const body = ({ reason = '', deadline = 0, grace }: DrainOptions) => ({
    reason,
    deadline_seconds: deadline,
    ...(grace === undefined ? {} : { grace_seconds: grace }),
  })
  const drainOptions = (command: Command) =>
    command
      .option(
        '--deadline <duration>',
        'so long what runs may go on; default: it is stopped now',
        durationOption,
      )
      .option('--grace <duration>', 'from SIGTERM to SIGKILL; default: each task’s own', graceOption)
      .option('--reason <text>', 'for the people who wonder')
  drainOptions(verb(node, 'drain <name>', 'empty it: what is stopped waits for another place'))
    .option('--power-off', 'it will be switched off: its vote and leadership go to others')
    .action((name: string, options: DrainOptions) =>
      connected(tool, options, async ({ client }) => {
        const request = { ...body(options), power_off: options.powerOff ?? false }
        const done = await client.call('nodes.drain', { params: { node: name }, body: request })
        print(tool.terminal, options.output, done, () => `${emptied(done)}\n`)
      }),
    )
  drainOptions(
    verb(
      node,
      'reboot-notice <name>',
      'it will be restarted: emptied until then, in use again when it is back',
    ),
  ).action((name: string, options: DrainOptions) =>
    connected(tool, options, async ({ client }) => {
      const done = await client.call('nodes.reboot_notice', { params: { node: name }, body: body(options) })
      print(tool.terminal, options.output, done, () => `${emptied(done)}\n`)
    }),
  )
}

const emptied = ({ name, tasks, cordon }: Node) =>
  tasks === 0
    ? `${plain(name)} is empty`
    : `${plain(name)} is emptied until ${cordon?.drain?.deadline ?? 'now'}; tasks there: ${tasks}. The event node.drained tells when it is empty.`

function nameVerbs(node: Command, tool: Tool): void {
  verb(node, 'rename <name> <new-name>', 'give it another name; its id stays').action(
    (name: string, to: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const body = { name: newName(to) }
        const done = await client.call('nodes.edit', { params: { node: name }, body })
        print(tool.terminal, options.output, done, () => `${done.id} is named ${plain(done.name)}\n`)
      }),
  )
  verb(node, 'label <name> <labels...>', 'KEY=VALUE sets a label, KEY= takes it away').action(
    (name: string, given: string[], options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const labels = Object.fromEntries(given.map(labelOf))
        const done = await client.call('nodes.edit', { params: { node: name }, body: { labels } })
        const now = Object.entries(done.labels ?? {}).map(([key, value]) => `${key}=${value}`)
        print(tool.terminal, options.output, done, () => `${plain(now.join(' ')) || 'no labels'}\n`)
      }),
  )
}

/** An argument, so commander says nothing of it by itself. */
function newName(text: string): string {
  try {
    return nameOption(text)
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function labelOf(text: string): [string, string | null] {
  const at = text.indexOf('=')
  if (at < 1) throw new UsageError(`expected KEY=VALUE, or KEY= to take it away, not ${text}`)
  return [text.slice(0, at), text.slice(at + 1) || null]
}
