import type { Command } from 'commander'
import { openAsBlob } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { CallOutput, Client } from '../../contract/client.ts'
import { formatDuration } from '../../contract/duration.ts'
import type { Image } from '../../contract/images.ts'
import { formatBytes } from '../../contract/resources.ts'
import { learnMembers } from '../connection/open.ts'
import { counted } from '../connection/counted.ts'
import { UsageError } from '../failure.ts'
import { imageDetails, imageTable } from '../output/images.ts'
import { print } from '../output/print.ts'
import { plain, properties, table } from '../output/table.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, connected, consistencyOf, readVerb, type Tool, verb } from '../tool.ts'
import { durationOption, repeated } from './options.ts'
import { collect } from './pages.ts'

export function imageVerbs(program: Command, tool: Tool): void {
  const image = program.command('image').description('container images, without a registry')
  importVerb(image, tool)
  listVerbs(image, tool)
  pullVerb(image, tool)
  removeVerb(image, tool)
  collectVerb(image, tool)
  policyVerb(image, tool)
}

function importVerb(image: Command, tool: Tool): void {
  const { terminal } = tool
  verb(
    image,
    'import <file>',
    'give the cluster an image: what `docker save` writes, or an OCI layout; .tar or .tar.gz',
  )
    .option('--name <name>', 'call it this instead of by the names in the file')
    .action(async (given: string, options: CommonOptions & { name?: string }) => {
      const file = path.resolve(terminal.cwd, given)
      const found = await stat(file).catch(() => undefined)
      if (!found) throw new UsageError(`there is no file ${given}`)
      if (!found.isFile()) throw new UsageError(`${given} is no file`, notAFile)
      await connected(tool, options, async (connection) => {
        await learnMembers(connection)
        const meter = new Meter(terminal, 'sent', found.size)
        const body = counted(await openAsBlob(file), (bytes) => meter.show(bytes))
        const query = options.name === undefined ? {} : { name: options.name }
        const response = await connection.client
          .raw('images.import', { query }, body)
          .finally(() => meter.end())
        const made = (await response.json()) as CallOutput<'images.import'>
        print(terminal, options.output, made, () => made.items.map(importedLine).join(''))
      })
    })
}

const notAFile =
  'Give an image archive: what `docker save IMAGE -o FILE` writes, or an OCI layout packed with `tar -cf FILE -C FOLDER .`'

const importedLine = ({ names, id, bytes, layers, copies }: Image): string =>
  `${plain(names.join(', '))}  ${id.slice(0, 19)}  ${formatBytes(bytes)} in ${layers ?? 0} layers on ${copies} ${copies === 1 ? 'node' : 'nodes'}\n`

/** How far something is, in one line of a terminal that is written over; quiet elsewhere. */
class Meter {
  readonly #terminal: Terminal
  readonly #what: string
  readonly #total: number
  #shown = -1

  constructor(terminal: Terminal, what: string, total: number) {
    this.#terminal = terminal
    this.#what = what
    this.#total = total
  }

  show(bytes: number): void {
    const percent = this.#total === 0 ? 100 : Math.min(100, Math.floor((bytes / this.#total) * 100))
    if (!this.#terminal.interactive || percent === this.#shown) return
    this.#shown = percent
    this.#terminal.err(
      `\r${formatBytes(bytes)} of ${formatBytes(this.#total)} ${this.#what} (${percent} %)   `,
    )
  }

  end(): void {
    if (this.#shown >= 0) this.#terminal.err('\n')
  }
}

function listVerbs(image: Command, tool: Tool): void {
  readVerb(image, 'list', 'images, and which node has which')
    .option('--imported', 'only those that the cluster keeps')
    .action((options: CommonOptions & { imported?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const imported = options.imported ? { imported: '1' as const } : {}
        const page = await collect((query) =>
          client.call('images.list', { query: { ...query, ...imported, ...consistencyOf(options) } }),
        )
        print(tool.terminal, options.output, page, () => imageTable(page.items))
      }),
    )
  readVerb(image, 'get <name>', 'one image, by name or digest').action(
    (name: string, options: CommonOptions) =>
      connected(tool, options, async ({ client }) => {
        const found = await client.call('images.get', {
          params: { image: name },
          query: consistencyOf(options),
        })
        print(tool.terminal, options.output, found, () => imageDetails(found))
      }),
  )
}

interface OnNodes extends CommonOptions {
  node?: string[]
}

function pullVerb(image: Command, tool: Tool): void {
  const { terminal } = tool
  verb(image, 'pull <name>', 'have nodes bring an image into their engines before it is needed')
    .option('--node <name>', 'only this node; may be given several times', repeated)
    .option('--wait', 'show how far they are, and end when all are done')
    .action((name: string, options: OnNodes & { wait?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const asked = await client.call('images.pull', { body: jobOf(name, options) })
        if (options.wait) await waitForPull(terminal, client, name, asked.nodes)
        print(terminal, options.output, asked, () => `${plain(asked.image)}: ${options.wait ? 'ready on' : 'asked'} ${plain(asked.nodes.join(', '))}\n`) // prettier-ignore
      }),
    )
}

const jobOf = (image: string, { node }: OnNodes) => ({ image, ...(node ? { nodes: node } : {}) })

/** Until each node has it; throws with the first node's reason when one cannot get it. */
async function waitForPull(terminal: Terminal, client: Client, name: string, nodes: string[]): Promise<void> {
  let meter: Meter | undefined
  try {
    for (;;) {
      const found = await lookFor(client, name)
      const asked = found?.nodes.filter((one) => nodes.includes(one.name)) ?? []
      const failed = asked.find((one) => one.job?.reason)
      if (failed?.job?.reason) throw new UsageError(`${failed.name}: ${failed.job.reason.message}`)
      if (asked.length === nodes.length && asked.every((one) => one.engine && !one.job)) return
      const [bytes, total] = sums(asked.map(({ pull }) => pull))
      if (total > 0) (meter ??= new Meter(terminal, 'brought', total)).show(bytes)
      await new Promise((resolve) => setTimeout(resolve, 1000))
    }
  } finally {
    meter?.end()
  }
}

/** An image of a registry is known only once a node has it. */
async function lookFor(client: Client, name: string): Promise<Image | undefined> {
  const page = await collect((query) => client.call('images.list', { query }))
  return page.items.find(
    ({ id, names }) => id === name || names.includes(name) || names.includes(`${name}:latest`),
  )
}

const sums = (pulls: readonly Image['nodes'][number]['pull'][]): [number, number] => [
  pulls.reduce((sum, pull) => sum + (pull?.bytes ?? 0), 0),
  pulls.reduce((sum, pull) => sum + (pull?.total ?? 0), 0),
]

function removeVerb(image: Command, tool: Tool): void {
  const { terminal } = tool
  verb(image, 'remove <name>', "take a name away; with the last one, or by digest, the cluster's copies go")
    .option(
      '--node <name>',
      "instead remove it from this node's engine; may be given several times",
      repeated,
    )
    .option('--engines', 'instead remove it from the engines of all nodes')
    .action((name: string, options: OnNodes & { engines?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        if (options.node || options.engines) {
          const asked = await client.call('images.evict', { body: jobOf(name, options) })
          return print(terminal, options.output, asked, () => `${plain(asked.image)}: asked ${plain(asked.nodes.join(', '))}\n`) // prettier-ignore
        }
        await client.call('images.remove', { params: { image: name } })
        print(terminal, options.output, { image: name, removed: true }, () => `${plain(name)} removed\n`)
      }),
    )
}

function collectVerb(image: Command, tool: Tool): void {
  const { terminal } = tool
  verb(
    image,
    'gc',
    'remove images that nobody used for a while; never the only copy, never what waits or runs',
  )
    .option('--unused <duration>', 'unused for so long, instead of as the policy says', durationOption)
    .option('--dry-run', 'only say what would go')
    .action((options: CommonOptions & { unused?: number; dryRun?: boolean }) =>
      connected(tool, options, async ({ client }) => {
        const query = {
          ...(options.unused === undefined ? {} : { unused_seconds: options.unused }),
          ...(options.dryRun ? { dry_run: '1' as const } : {}),
        }
        const found = await client.call('images.collect', { query })
        print(terminal, options.output, found, () => collectedText(found, options.dryRun ?? false))
      }),
    )
}

function collectedText({ engines, cluster, kept }: CallOutput<'images.collect'>, dry: boolean): string {
  const rows = [
    ...cluster.map(({ image, bytes }) => ({ image, where: 'cluster', bytes })),
    ...engines.map(({ image, node, bytes }) => ({ image, where: node, bytes })),
  ]
  const columns = [
    { title: dry ? 'WOULD GO' : 'GOES', cell: (row: (typeof rows)[number]) => plain(row.image) },
    { title: 'FROM', cell: (row: (typeof rows)[number]) => plain(row.where) },
    { title: 'SIZE', cell: (row: (typeof rows)[number]) => formatBytes(row.bytes) },
  ]
  const staying = kept.map(({ image, why }) => `${plain(image)} stays: ${plain(why)}\n`).join('')
  return (rows.length ? table(columns, rows) : 'nothing to remove\n') + staying
}

/** `14 days`, or `never`. */
const ageOption = (text: string): number | null => (text === 'never' ? null : durationOption(text))

function policyVerb(image: Command, tool: Tool): void {
  const { terminal } = tool
  verb(image, 'policy', 'show or say how long unused images are kept')
    .option('--engine-unused <duration>', 'in engines, of what agents brought there; or never', ageOption)
    .option('--cluster-unused <duration>', 'imported ones that an engine has too; or never', ageOption)
    .action((options: CommonOptions & { engineUnused?: number | null; clusterUnused?: number | null }) =>
      connected(tool, options, async ({ client }) => {
        const { engineUnused, clusterUnused } = options
        const before = await client.call('imagePolicy.get', {})
        const body = {
          engine_unused_seconds: engineUnused === undefined ? before.engine_unused_seconds : engineUnused,
          cluster_unused_seconds: clusterUnused === undefined ? before.cluster_unused_seconds : clusterUnused,
        }
        const asked = engineUnused !== undefined || clusterUnused !== undefined
        const policy = asked ? await client.call('imagePolicy.set', { body }) : before
        const words = (seconds: number | null) => (seconds === null ? 'kept for ever' : `removed after ${formatDuration(seconds)}`) // prettier-ignore
        print(terminal, options.output, policy, () =>
          properties([
            ['unused in an engine', words(policy.engine_unused_seconds)],
            ['unused in the cluster', words(policy.cluster_unused_seconds)],
          ]),
        )
      }),
    )
}
