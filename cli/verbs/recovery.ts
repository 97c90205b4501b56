import type { Command } from 'commander'
import path from 'node:path'
import type { Recovered, RecoveryPlan, Restored } from '../agent-module.ts'
import { print } from '../output/print.ts'
import { counted, plain, properties, table } from '../output/table.ts'
import { agree, confirmByTyping, notAsked } from '../prompt.ts'
import { type CommonOptions, type Tool, withOutput } from '../tool.ts'
import { knownPassphrase, type PassphraseOptions, passphraseOption } from './backup.ts'
import { hostPortOption, nameOption } from './options.ts'

interface RestoreOptions extends Pick<CommonOptions, 'output'>, PassphraseOptions {
  data: string
  name?: string
  advertise?: string
  newCluster?: boolean
}

interface RecoverOptions extends Pick<CommonOptions, 'output'> {
  fromData: string
  yes?: boolean
}

/** What is done on a host itself when a cluster is gone, or its majority. */
export function recoveryVerbs(cluster: Command, tool: Tool): void {
  passphraseOption(withOutput(cluster.command('restore <file>')))
    .description("make the first host's data folder of a new cluster from a backup (offline)")
    .requiredOption('--data <folder>', 'new data folder')
    .option('--name <name>', "this node's name (default: the host's)", nameOption)
    .option('--advertise <host:port>', 'address that the others will reach it by', hostPortOption)
    .option('--new-cluster', 'a copy beside the original: an authority of its own, nobody signed in')
    .addHelpText('after', restoreHelp)
    .action((file: string, options: RestoreOptions) => restore(tool, file, options))
  withOutput(cluster.command('recover'))
    .description(
      'found the cluster anew from one surviving host, when its majority is gone for good (offline)',
    )
    .requiredOption('--from-data <folder>', "the survivor's data folder; no agent may run on it")
    .option('--yes', 'do not ask')
    .addHelpText('after', recoverHelp)
    .action((options: RecoverOptions) => recover(tool, options))
}

const restoreHelp = `
Users, experiments and events are as in the backup. Its hosts are not members any more and join anew with tokens. What
ran then counts as failed. Logs, metrics, artifacts and uploaded code are not in a backup: what is kept of old
experiments cannot be read. Never start the old hosts with their old data folders again.`

const recoverHelp = `
For when most voters are lost and will not come back: their disks are gone. As long as they may come back, wait.
What only the lost hosts had acknowledged is lost; what this host had in its log and was perhaps never acknowledged
counts. Never start the lost hosts with their old data folders again: they would go on as the old cluster.`

async function restore(tool: Tool, file: string, options: RestoreOptions): Promise<void> {
  const { terminal } = tool
  const { name, advertise, newCluster = false } = options
  const passphrase = await knownPassphrase(terminal, options)
  const agent = await tool.loadAgent()
  const restored = await agent.restoreBackup({
    file: path.resolve(terminal.cwd, file),
    passphrase,
    data: path.resolve(terminal.cwd, options.data),
    newCluster,
    ...(name ? { name } : {}),
    ...(advertise ? { advertise } : {}),
  })
  print(terminal, options.output, restored, () => restoredText(restored))
  terminal.err(
    'Logs, metrics, artifacts and uploaded code were not in the backup.\n' +
      nextSteps(options.data, restored.same_authority) +
      'Never start the old hosts with their old data folders again.\n',
  )
}

const nextSteps = (data: string, sameAuthority: boolean) =>
  `Now start the agent, with the options it should have:\n  submarine agent start --data ${data}\n` +
  'Let the other hosts join with empty data folders: `submarine cluster token` here, for each.\n' +
  (sameAuthority ? '' : 'Consoles and command lines trust it after a new sign-in: `submarine login`.\n')

function restoredText(restored: Restored): string {
  const { cluster } = restored
  return properties([
    ['cluster', `${plain(cluster.name)} (${cluster.id})`],
    ['node', `${plain(restored.name)} (${restored.node})`],
    ['as of', plain(restored.taken_at)],
    ['contents', `${counted(restored.users, 'user')}, ${counted(restored.experiments, 'experiment')}`],
    ['must join anew', plain(restored.lost_nodes.join(', ')) || 'none'],
    ['counted as failed', failedText(restored.failed_tasks)],
  ])
}

const failedText = (tasks: readonly string[]) => plain(tasks.join(', ')) || 'none'

async function recover(tool: Tool, options: RecoverOptions): Promise<void> {
  const { terminal } = tool
  if (!options.yes && !terminal.interactive) throw notAsked('recover')
  const agent = await tool.loadAgent()
  const opened = await agent.openRecovery(path.resolve(terminal.cwd, options.fromData))
  if ('finished' in opened) {
    terminal.err(`An interrupted recovery is finished now. What was before is kept in ${opened.finished}\n`)
    return terminal.err(nextSteps(options.fromData, true))
  }
  try {
    terminal.err(planText(opened.plan))
    const { name } = opened.plan.cluster
    const question = () => confirmByTyping(terminal, `To go on, type the cluster's name (${name}):`, name)
    await agree(terminal, 'recover', { yes: options.yes, question })
    const recovered = await opened.carryOut()
    print(terminal, options.output, recovered, () => recoveredText(recovered))
    terminal.err(nextSteps(options.fromData, opened.plan.same_authority))
  } finally {
    await opened.close()
  }
}

function planText(plan: RecoveryPlan): string {
  const { cluster, members, uncertain } = plan
  const head = properties([
    ['cluster', `${plain(cluster.name)} (${plain(cluster.id)})`],
    ['this host', `${plain(plan.name)} (${plain(plan.node)}), ${plan.role}`],
    ['last written', plan.last_written],
    ['log', `ends at entry ${plan.index} of term ${plan.term}`],
    ['contents', `${counted(plan.users, 'user')}, ${counted(plan.experiments, 'experiment')}`],
    ['goes on here', failedText(plan.running_here)],
    ['will count as failed', failedText(plan.running_elsewhere)],
  ])
  const list = table(
    [
      { title: 'MEMBER', cell: (m) => plain(m.name) + (m.here ? ' (this host)' : '') },
      { title: 'ID', cell: (m) => plain(m.node) },
      { title: 'ROLE', cell: (m) => plain(m.role) },
      { title: 'ADDRESS', cell: (m) => plain(m.address) },
    ],
    members,
  )
  const others = members.filter((m) => !m.here).map((m) => plain(m.name))
  return [
    head,
    '',
    list,
    'This host becomes the only member of the cluster, under a new id.',
    others.length ? `No longer members: ${others.join(', ')}.` : '',
    `What may be lost: everything that was acknowledged after ${plan.last_written}, or that had not reached this host.`,
    uncertain > 0
      ? `Entries at the end of the log that may never have been acknowledged, and count from now on: ${uncertain}.`
      : '',
    plan.same_authority
      ? ''
      : 'This host was no voter and has no cluster key: the cluster gets a new authority, and consoles must sign in anew.',
    'The lost hosts must never be started with their old data folders again.',
    '',
  ]
    .filter((line, at, all) => line !== '' || all[at - 1] !== '')
    .join('\n')
}

function recoveredText(recovered: Recovered): string {
  const { cluster } = recovered
  return properties([
    ['cluster', `${plain(cluster.name)} (${cluster.id})`],
    ['only member', `${plain(recovered.name)} (${recovered.node})`],
    ['no longer members', plain(recovered.lost_nodes.join(', ')) || 'none'],
    ['counted as failed', failedText(recovered.failed_tasks)],
    ['what was before', plain(recovered.aside)],
  ])
}
