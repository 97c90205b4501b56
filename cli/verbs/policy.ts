import type { Command } from 'commander'
import { ContainerPolicy } from '../../contract/policy.ts'
import { fieldErrors } from '../../contract/problem.ts'
import { SpecError, fieldLine } from '../failure.ts'
import { print } from '../output/print.ts'
import { plain, properties } from '../output/table.ts'
import { parseSpecText, textOf } from '../spec/read.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'

export function policyVerbs(program: Command, tool: Tool): void {
  const { terminal } = tool
  const policy = program.command('policy').description('what containers may have of their host, and whose')
  readVerb(policy, 'get', 'what is allowed beyond the default, which is nothing of the host').action(
    (options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const now = await client.call('policy.get', { query: consistencyOf(options) })
        print(terminal, options.output, now, () => policyText(now))
      }),
  )
  verb(
    policy,
    'set <file>',
    'say it anew, from YAML or JSON as `policy get -o yaml` prints it (-: stdin)',
  ).action(async (file: string, options: CommonOptions) => {
    const body = readPolicy(await textOf(terminal, file), file)
    await connected(tool, options, async ({ client }) => {
      const now = await client.call('policy.set', { body })
      print(terminal, options.output, now, () => policyText(now))
    })
  })
}

function readPolicy(text: string, file: string): ContainerPolicy {
  const parsed = ContainerPolicy.safeParse(parseSpecText(text, file).input ?? {})
  if (parsed.success) return parsed.data
  throw new SpecError(`the policy in ${file} is not valid`, fieldErrors(parsed.error).map(fieldLine))
}

function policyText({ mounts, devices, capabilities, host_network, root }: ContainerPolicy): string {
  const whose = (subjects: readonly string[]) => subjects.map(plain).join(', ') || 'nobody'
  const lines = (rules: readonly { readonly what: string; readonly for: readonly string[] }[]) =>
    rules.map((rule) => `${plain(rule.what)} for ${whose(rule.for)}`).join('; ') || 'none'
  return properties([
    [
      'folders of the host',
      lines(mounts.map((rule) => ({ ...rule, what: rule.path + (rule.read_only ? '' : ' (to write)') }))),
    ],
    ['devices', lines(devices.map((rule) => ({ ...rule, what: rule.path })))],
    ['capabilities', lines(capabilities.map((rule) => ({ ...rule, what: rule.name })))],
    ['network of the host', whose(host_network)],
    ['root', whose(root)],
  ])
}
