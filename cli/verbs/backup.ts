import type { Command } from 'commander'
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Client } from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'
import { formatBytes } from '../../contract/resources.ts'
import type { AgentModule, BackupSummary } from '../agent-module.ts'
import { UsageError } from '../failure.ts'
import { print } from '../output/print.ts'
import { counted, plain, properties } from '../output/table.ts'
import { askPassword } from '../prompt.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, connected, type Tool, verb, withOutput } from '../tool.ts'

export interface PassphraseOptions {
  passphraseFile?: string
}

interface BackupOptions extends CommonOptions, PassphraseOptions {
  overwrite?: boolean
}

export const passphraseOption = (command: Command) =>
  command.option('--passphrase-file <file>', 'read the passphrase from the first line of this file')

/** Backups of the state of a whole cluster. */
export function backupVerbs(cluster: Command, tool: Tool): void {
  const backup = passphraseOption(
    verb(
      cluster,
      'backup [file]',
      'write the whole state of the cluster to one file, sealed by a passphrase',
    ),
  )
    .option('--overwrite', 'replace the file if it is there')
    .addHelpText('after', notInBackup)
    .action((file: string | undefined, options: BackupOptions) => {
      if (!file)
        throw new UsageError('give the file to write', 'For example: submarine cluster backup lab.backup')
      return takeBackup(tool, path.resolve(tool.terminal.cwd, file), options)
    })
  passphraseOption(withOutput(backup.command('verify <file>')))
    .description('is this backup whole? With its passphrase: can it be opened, and what is in it?')
    // Options that the verb above knows too are read by it.
    .action(async (file: string, _own: object, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & PassphraseOptions>()
      const { terminal } = tool
      const passphrase = options.passphraseFile
        ? await passphraseFrom(options.passphraseFile, terminal)
        : undefined
      const agent = await tool.loadAgent()
      const summary = await agent.verifyBackup(path.resolve(terminal.cwd, file), passphrase)
      print(terminal, options.output, summary, () => summaryText(summary))
    })
}

const notInBackup = `
In the backup: users, experiments, tasks, nodes, events, and the cluster's keys; all of it sealed by the passphrase.
Not in it: logs, metrics, artifacts and uploaded code. They lie as files in the nodes' data folders.`

async function takeBackup(tool: Tool, file: string, options: BackupOptions): Promise<void> {
  const { terminal } = tool
  const there = await stat(file).catch(() => undefined)
  if (there?.isDirectory()) throw new UsageError(`${file} is a folder`, 'Give the name of a file.')
  if (there && !options.overwrite)
    throw new UsageError(
      `${file} is there already`,
      'Give another name, or --overwrite: it is replaced when the new backup is whole.',
    )
  const folder = path.dirname(file)
  if (!(await stat(folder).catch(() => undefined))?.isDirectory())
    throw new UsageError(`there is no folder ${folder}`, 'Make it first, or correct the path of the file.')
  const passphrase = await newPassphrase(terminal, options)
  const agent = await tool.loadAgent()
  const summary = await connected(tool, options, ({ client }) => save(client, agent, file, passphrase))
  print(terminal, options.output, summary, () => summaryText(summary))
  terminal.err(
    'Logs, metrics, artifacts and uploaded code are not in it. Keep the passphrase in another place.\n',
  )
}

/** Under another name until it is whole, opened and on disk: a cut-off download never looks like a backup. */
async function save(
  client: Client,
  agent: AgentModule,
  file: string,
  passphrase: string,
): Promise<BackupSummary> {
  const { key, kdf } = await agent.newPassphraseKey(passphrase)
  const draft = `${file}.${randomBytes(6).toString('hex')}.tmp`
  const body = JSON.stringify({ key: Buffer.from(key).toString('base64url'), kdf })
  const response = await client.raw(
    'cluster.backup',
    { headers: { 'content-type': 'application/json' } },
    body,
  )
  try {
    await download(response, draft)
    const summary = await agent.verifyBackup(draft, passphrase)
    await rename(draft, file)
    await syncFolder(path.dirname(file))
    return { ...summary, path: file }
  } finally {
    await rm(draft, { force: true })
  }
}

async function download(response: Response, draft: string): Promise<void> {
  const target = await open(draft, 'wx', 0o600)
  try {
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>)
      await target.writeFile(chunk)
    await target.sync()
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC') throw cause
    throw new ProblemError('node_unreachable', 'the backup was cut off on the way; nothing was written', {
      hint: 'Run the command again.',
      cause,
    })
  } finally {
    await target.close()
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function newPassphrase(terminal: Terminal, { passphraseFile }: PassphraseOptions): Promise<string> {
  if (passphraseFile) return passphraseFrom(passphraseFile, terminal)
  if (!terminal.interactive) throw noPassphrase('A backup holds the keys of the cluster')
  const first = await askPassword(terminal, 'Passphrase of the backup: ')
  if ((await askPassword(terminal, 'The same once more: ')) !== first)
    throw new UsageError('the passphrases differ')
  return first
}

/** The passphrase of a backup that exists. */
export async function knownPassphrase(
  terminal: Terminal,
  { passphraseFile }: PassphraseOptions,
): Promise<string> {
  if (passphraseFile) return passphraseFrom(passphraseFile, terminal)
  if (!terminal.interactive) throw noPassphrase('The backup is sealed by a passphrase')
  return askPassword(terminal, 'Passphrase of the backup: ')
}

const noPassphrase = (why: string) =>
  new UsageError(
    `${why}, and there is no terminal to ask for a passphrase`,
    'Give --passphrase-file FILE: a file that only you may read, with the passphrase on its first line.',
  )

async function passphraseFrom(file: string, { cwd }: Terminal): Promise<string> {
  const at = path.resolve(cwd, file)
  const info = await stat(at).catch(() => undefined)
  // A pipe of the shell, such as <(pass show lab), is nobody else's.
  if (info?.isFile() && info.mode & 0o077)
    throw new UsageError(`other people may read the passphrase in ${file}`, `chmod 600 ${file}`)
  const text = await readFile(at, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new UsageError(`there is no passphrase file ${file}`, 'Correct the path after --passphrase-file.')
    throw new UsageError(
      `cannot read the passphrase: ${error instanceof Error ? error.message : String(error)}`,
    )
  })
  const [first = ''] = text.split(/\r?\n/, 1)
  if (!first) throw new UsageError(`the first line of ${file} is empty`, 'Write the passphrase there.')
  return first
}

function summaryText(summary: BackupSummary): string {
  const { cluster, contents } = summary
  return properties([
    ['file', plain(summary.path)],
    ['size', formatBytes(summary.bytes)],
    ['sha256', summary.sha256],
    ['cluster', `${plain(cluster.name)} (${plain(cluster.id)})`],
    ['taken', plain(summary.taken_at)],
    ['index', String(summary.index)],
    [
      'contents',
      contents
        ? [
            counted(contents.users ?? 0, 'user'),
            counted(contents.nodes ?? 0, 'node'),
            counted(contents.experiments ?? 0, 'experiment'),
            counted(contents.events ?? 0, 'event'),
          ].join(', ')
        : 'whole; give --passphrase-file to open it',
    ],
  ])
}
