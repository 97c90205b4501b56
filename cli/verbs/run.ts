import path from 'node:path'
import type { Command } from 'commander'
import type { FieldError } from '../../contract/problem.ts'
import { formatBytes } from '../../contract/resources.ts'
import { type ExperimentInput, parseSpec } from '../../contract/spec.ts'
import type { Connection } from '../connection/open.ts'
import { Exit, fieldLine, SpecError, UsageError } from '../failure.ts'
import { experimentDetails } from '../output/describe.ts'
import { explanationText } from '../output/explain.ts'
import { print } from '../output/print.ts'
import { counted } from '../output/table.ts'
import { type Listing, listFolder, packFolder } from '../pack/folder.ts'
import { readGitState } from '../pack/git.ts'
import type { Terminal } from '../terminal.ts'
import { type CommonOptions, connected, type Tool, verb } from '../tool.ts'
import { exitOf, followToEnd } from './follow.ts'
import { bytesOption, cpuOption, durationOption, gpuOption, nameOption, repeated } from './options.ts'
import { optionNames, schedulingOf, type SchedulingOptions, schedulingOptions } from './scheduling-options.ts'

interface RunOptions extends CommonOptions, SchedulingOptions {
  name?: string
  image?: string
  cpu?: number
  memory?: number
  gpu?: number
  gpuModel?: string
  gpuMemory?: string
  gpuMig?: string
  gpuShare?: string
  env?: string[]
  timeout?: number
  tag?: string[]
  upload: boolean
  detach?: boolean
  dryRun?: boolean
}

export function runVerb(program: Command, tool: Tool): void {
  const command = verb(
    program,
    'run <command...>',
    'run a command on the cluster with the files of this folder',
  )
  schedulingOptions(command)
    .usage('[options] -- CMD [ARG…]')
    .option('--name <name>', "experiment's name (default: the folder's)", nameOption)
    .option('--image <image>', "container image (default: the node's)")
    .option('--cpu <cores>', 'cores, such as 4, 0.5 or 500m', cpuOption)
    .option('--memory <size>', 'memory, such as 8Gi or 2048M', bytesOption)
    .option('--gpu <n>', 'whole GPUs', gpuOption)
    .option('--gpu-model <name>', 'only GPUs of this model, such as A100')
    .option('--gpu-memory <size>', 'only GPUs with at least so much memory, such as 40Gi')
    .option('--gpu-mig <profile>', 'slices of GPUs, such as 1g.10gb')
    .option('--gpu-share <size>', 'so much memory of a GPU that is shared; nothing enforces it')
    .option('--env <key=value>', 'environment variable; KEY alone takes the value it has here', repeated)
    .option('--timeout <duration>', 'end it after this long, such as "30 mins"', durationOption)
    .option('--tag <text>', 'a tag to find it by', repeated)
    .option('--no-upload', 'leave the files of this folder here')
    .option('-d, --detach', 'print the id and do not follow')
    .option('--dry-run', 'say where it would go, or why it would wait, and run nothing')
    .passThroughOptions()
    .action((command: string[], options: RunOptions) => run(tool, command, options))
}

async function run(tool: Tool, command: string[], options: RunOptions): Promise<void> {
  const { terminal } = tool
  const spec = specOf(terminal, command, options)
  refuseBadSpec(spec)
  if (options.dryRun) return dryRun(tool, spec, options)
  const listing = options.upload ? await listFolder(terminal.cwd) : undefined
  await connected(tool, { ...options, wait: !options.detach }, async (connection) => {
    if (listing?.paths.length) spec.code = await uploadFolder(terminal, connection, listing)
    const experiment = await connection.client.call('experiments.create', { body: spec })
    if (options.detach) return print(terminal, options.output, experiment, () => `${experiment.id}\n`)
    terminal.err(`${experiment.id} (${experiment.name}) submitted\n`)
    const final = await followToEnd(terminal, connection, experiment, options.output === 'table')
    if (options.output !== 'table')
      print(terminal, options.output, final, () => experimentDetails(terminal, final))
    const code = exitOf(final)
    if (code !== 0) throw new Exit(code)
  })
}

/** Nothing is uploaded either: where it goes does not depend on its files. */
async function dryRun(tool: Tool, spec: ExperimentInput, options: RunOptions): Promise<void> {
  const { terminal } = tool
  await connected(tool, options, async ({ client }) => {
    const made = await client.call('experiments.create', { query: { dry_run: '1' }, body: spec })
    print(terminal, options.output, made, () =>
      made.plan ? explanationText(terminal, made.plan, made.tasks.length) : `valid: ${made.name}\n`,
    )
  })
}

/** Upload the folder; its digest lets the cluster refuse a damaged copy. */
export async function uploadFolder(
  terminal: Terminal,
  { client }: Connection,
  listing: Listing,
): Promise<NonNullable<ExperimentInput['code']>> {
  for (const skipped of listing.skipped) terminal.err(`left out: ${skipped}\n`)
  const packed = await packFolder(terminal.cwd, listing)
  try {
    terminal.err(
      `uploading ${counted(listing.files, 'file')}, ${formatBytes(listing.bytes)} (${formatBytes(packed.bytes)} packed) …\n`,
    )
    await client.raw('blobs.create', { query: { sha256: packed.sha256 } }, packed.blob)
    const git = await readGitState(terminal.cwd)
    return { upload: packed.sha256, ...(git ? { git } : {}) }
  } finally {
    await packed.remove()
  }
}

function specOf(terminal: Terminal, command: string[], options: RunOptions): ExperimentInput {
  const resources = resourcesOf(options)
  return {
    name: options.name ?? nameFrom(terminal.cwd),
    command,
    env: Object.fromEntries((options.env ?? []).map((entry) => readEnv(terminal, entry))),
    ...(options.image ? { environment: { image: options.image } } : {}),
    ...(Object.keys(resources).length ? { resources } : {}),
    ...(options.timeout ? { timeout: options.timeout } : {}),
    ...(options.tag ? { tags: options.tag } : {}),
    ...schedulingOf(options),
  }
}

function resourcesOf({ cpu, memory, gpu, ...of }: RunOptions): Record<string, string | number> {
  const given = {
    cpu,
    memory,
    gpu,
    'gpu.model': of.gpuModel,
    'gpu.memory': of.gpuMemory,
    'gpu.mig': of.gpuMig,
    'gpu.share': of.gpuShare,
  }
  return Object.fromEntries(
    Object.entries(given).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  )
}

function readEnv(terminal: Terminal, entry: string): [string, string] {
  const at = entry.indexOf('=')
  if (at > 0) return [entry.slice(0, at), entry.slice(at + 1)]
  const value = at < 0 ? terminal.env[entry] : undefined
  if (value !== undefined) return [entry, value]
  throw new UsageError(`--env ${entry}: expected KEY=VALUE, or KEY of a variable that is set here`)
}

/** A folder's name as an experiment's: what names may not hold becomes "-". */
function nameFrom(folder: string): string {
  const name = path
    .basename(folder)
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 63)
    .replaceAll(/^[._-]+|[._-]+$/g, '')
  return name || 'run'
}

/** Refused here, before a folder is packed and sent. */
function refuseBadSpec(spec: ExperimentInput): void {
  const parsed = parseSpec(spec)
  if (!('errors' in parsed)) return
  const asOption = (error: FieldError) => fieldLine({ ...error, pointer: optionOf(error.pointer) })
  throw new SpecError('the options are not valid', parsed.errors.map(asOption))
}

/** The option that a field of the spec came from: `/resources/gpu.model` is `--gpu-model`. */
function optionOf(at: string): string {
  const [, first = '', ...rest] = at.replace(/^\/resources\//, '/').split('/')
  const name = optionNames[first] ?? first.replace('.', '-')
  return name ? `--${name} ${first === 'env' ? rest.join('/') : ''}`.trimEnd() : at
}
