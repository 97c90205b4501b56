import { type Command, Option } from 'commander'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { AgentOptions, PeerAddress } from '../agent-module.ts'
import { isHostPort } from '../connection/address.ts'
import { UsageError } from '../failure.ts'
import type { Tool } from '../tool.ts'
import { bytesOption, cpuOption, durationOption, hostPortOption, nameOption, wholeOption } from './options.ts'

export interface StartOptions {
  data: string
  create?: boolean
  clusterName?: string
  join?: string
  name?: string
  advertise?: string
  bind?: string
  shareCpu?: number
  shareMemory?: number
  shareGpus?: string
  shareGpu?: string[]
  foreignGpuMemory?: number
  defaultImage?: string
  dockerSocket?: string
  docker: boolean
  processRuntime?: boolean
  httpLoopback?: number
  replaceVoterAfter?: number
  logLevel: string
}

export function agentVerbs(program: Command, tool: Tool): void {
  const agent = program.command('agent').description('the daemon of this host')
  startOptions(agent.command('start'))
    .description('run the agent; a new data folder needs --create or --join')
    .option('--create', 'make a new cluster with this host as its first member')
    .option('--join <token>', 'join a cluster with a token of `submarine cluster token`')
    .action((options: StartOptions) => start(tool, options))
  startOptions(agent.command('init'))
    .description('make a new cluster here and run its first agent (start --create)')
    .action((options: StartOptions) => start(tool, { ...options, create: true }))
  startOptions(agent.command('join <token>'))
    .description('join a cluster and run the agent (start --join)')
    .action((token: string, options: StartOptions) => start(tool, { ...options, join: token }))
  agent
    .command('set-peer <peers...>')
    .description('write new addresses of members, NODE=HOST:PORT, into the data folder of a stopped agent')
    .requiredOption('--data <folder>', 'data folder')
    .action(async (peers: string[], options: { data: string }) => {
      const entries = peers.map(readPeer)
      const data = path.resolve(tool.terminal.cwd, options.data)
      if (!existsSync(data)) throw new UsageError(`there is no data folder ${data}`)
      const { setPeers } = await tool.loadAgent()
      await setPeers(data, entries)
      tool.terminal.err(`Addresses written for ${entries.map((e) => e.node).join(', ')}.\n`)
    })
}

function startOptions(command: Command): Command {
  return command
    .requiredOption('--data <folder>', 'data folder, kept between starts')
    .option('--cluster-name <name>', 'name of a new cluster', nameOption)
    .option('--name <name>', "this node's name (default: the host's)", nameOption)
    .option('--advertise <host:port>', 'address that the others reach it by', hostPortOption)
    .option('--bind <host:port>', 'address to listen on', hostPortOption)
    .option('--share-cpu <cores>', 'give the cluster this many cores', cpuOption)
    .option('--share-memory <size>', 'give it this much memory', bytesOption)
    .option('--share-gpus <uuids>', 'give it these GPUs, by UUID, comma-separated')
    .option(
      '--share-gpu <gpus>',
      'let tasks share these GPUs by declared memory, without isolation: UUIDs or indexes, comma-separated, or all',
      gpusOption,
    )
    .option(
      '--foreign-gpu-memory <size>',
      'from so much memory on, a program of outside the cluster keeps a GPU from being used (default: 300Mi)',
      bytesOption,
    )
    .option('--default-image <image>', 'image of tasks that name none')
    .option('--docker-socket <path>', "the engine's socket")
    .option('--no-docker', 'do not use Docker')
    .option('--process-runtime', 'also run tasks as plain processes, without isolation')
    .option('--http-loopback <port>', 'also serve plain HTTP on 127.0.0.1', wholeOption(0, 65_535))
    .option(
      '--replace-voter-after <duration>',
      'replace a voter silent for this long by a live host that does not vote yet (default: 10 mins)',
      durationOption,
    )
    .addOption(
      new Option('--log-level <level>', 'how much to log')
        .choices(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
        .default('info'),
    )
}

/** Runs until a signal; a second one does not wait for an orderly end. */
async function start(tool: Tool, options: StartOptions): Promise<void> {
  const agentOptions = readStartOptions(options, tool.terminal.cwd)
  const stopSignal = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  const { startAgent } = await tool.loadAgent()
  const agent = await startAgent(agentOptions)
  await stopSignal
  const leave = (signal: NodeJS.Signals) => process.exit(signal === 'SIGINT' ? 130 : 143)
  process.once('SIGTERM', leave).once('SIGINT', leave)
  try {
    await agent.stop()
  } finally {
    process.off('SIGTERM', leave).off('SIGINT', leave)
  }
}

export function readStartOptions(options: StartOptions, cwd: string): AgentOptions {
  if (options.create && options.join) throw new UsageError('give --create or --join, not both')
  if (options.clusterName && !options.create) throw new UsageError('--cluster-name goes with --create')
  if (options.dockerSocket && !options.docker)
    throw new UsageError('give --docker-socket or --no-docker, not both')
  const { name, advertise, bind, defaultImage, dockerSocket, httpLoopback, join, replaceVoterAfter } = options
  const share = shareOf(options)
  return {
    data: path.resolve(cwd, options.data),
    ...(options.create ? { create: { clusterName: options.clusterName ?? 'submarine' } } : {}),
    ...(join ? { join } : {}),
    ...(name ? { name } : {}),
    ...(advertise ? { advertise } : {}),
    ...(bind ? { bind } : {}),
    ...(share ? { share } : {}),
    ...(options.shareGpu ? { sharedGpus: options.shareGpu } : {}),
    ...(options.foreignGpuMemory === undefined ? {} : { foreignGpuMemory: options.foreignGpuMemory }),
    ...(defaultImage ? { defaultImage } : {}),
    ...(dockerSocket ? { dockerSocket } : {}),
    docker: options.docker,
    processRuntime: options.processRuntime ?? false,
    ...(httpLoopback === undefined ? {} : { httpLoopback }),
    ...(replaceVoterAfter === undefined ? {} : { replaceVoterAfterMs: replaceVoterAfter * 1000 }),
    logLevel: options.logLevel,
  }
}

function shareOf(options: StartOptions): AgentOptions['share'] {
  const { shareCpu: cpu, shareMemory: memory, shareGpus } = options
  const gpus = shareGpus?.split(',').map((uuid) => uuid.trim())
  const bad = gpus?.find((uuid) => !/^[A-Za-z0-9-]{1,100}$/.test(uuid))
  if (bad !== undefined)
    throw new UsageError(`--share-gpus: not a GPU's UUID: ${JSON.stringify(bad)}`, 'See `nvidia-smi -L`.')
  if (cpu === undefined && memory === undefined && gpus === undefined) return undefined
  return { ...(cpu && { cpu }), ...(memory && { memory }), ...(gpus && { gpus }) }
}

/** Given once or several times. */
function gpusOption(value: string, before: string[] = []): string[] {
  const gpus = value.split(',').map((gpu) => gpu.trim())
  const bad = gpus.find((gpu) => !/^(all|\d{1,3}|(GPU|MIG)-[A-Za-z0-9-/:.]{1,100})$/.test(gpu))
  if (bad !== undefined)
    throw new UsageError(
      `--share-gpu: not a GPU: ${JSON.stringify(bad)}`,
      'Write its UUID or index, see `nvidia-smi -L`; or `all`.',
    )
  return [...before, ...gpus]
}

function readPeer(text: string): PeerAddress {
  const at = text.indexOf('=')
  const [node, address] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)]
  if (node && isHostPort(address)) return { node, address }
  throw new UsageError(
    `not a peer: ${JSON.stringify(text)}`,
    'Write NODE=HOST:PORT, such as node-2=10.0.0.7:7460.',
  )
}
