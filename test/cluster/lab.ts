// A cluster of real agent processes on this machine, for tests: started, killed and started again.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type Client,
  createClient,
  type Experiment,
  type ExperimentInput,
  isFinal,
  type Node,
  ProblemError,
} from '../../contract/index.ts'
import { findNode } from '../../cli/node24.js'
import { filesIn, type Running } from '../../agent/node/process/folder.ts'
import { isAlive, signalGroup } from '../../agent/node/process/proc.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
export const password = 'correct horse battery staple'

export interface LabEngine {
  readonly socket: string
  /** Of tasks that name none. */
  readonly image?: string
}

export interface LabOptions {
  readonly agents?: number
  /** One engine for all agents, or one for each; without any, tasks run as plain processes. */
  readonly docker?: LabEngine | readonly LabEngine[]
  readonly cpu?: number
  readonly memory?: number
  /** Where the data folders go; default: a new folder below the system's temporary one. */
  readonly folder?: string
  readonly demoFile?: string
  /** Puts something between an agent and the others; answers the port where they reach it. */
  readonly link?: (agent: Agent) => Promise<number>
  /** More of every agent's environment. */
  readonly env?: NodeJS.ProcessEnv
  /** More options of `agent start`. */
  readonly args?: readonly string[]
}

/** One agent of the lab and how to reach it. */
export class Agent {
  readonly name: string
  readonly data: string
  /** The port for agents (TLS) and the one for plain HTTP on loopback. */
  tls = 0
  /** Where the others reach it; default: at that port itself. */
  advertised: number | undefined
  http = 0
  process: ChildProcess | undefined
  /** Its node id, from its first start on. */
  node = ''
  readonly #args: readonly string[]
  readonly #env: NodeJS.ProcessEnv

  constructor(name: string, folder: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.name = name
    this.data = join(folder, name)
    this.#args = args
    this.#env = env
  }

  get url(): string {
    return `http://127.0.0.1:${this.http}`
  }

  /** Start it and wait until it answers. `how` is what only the first start says: --create or --join. */
  async start(how: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<void> {
    this.spawn(how, env)
    await eventually(`${this.name} answers`, async () => {
      if (this.process?.exitCode !== null)
        throw new Error(`${this.name} ended with ${this.process?.exitCode}:\n${await this.log()}`)
      return (await fetch(`${this.url}/livez`).catch(() => undefined))?.ok
    })
  }

  spawn(how: readonly string[] = [], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const args = [
      'cli/index.ts', 'agent', 'start', '--data', this.data, '--name', this.name, '--bind', `127.0.0.1:${this.tls}`,
      '--advertise', `127.0.0.1:${this.advertised ?? this.tls}`, '--http-loopback', String(this.http), ...this.#args, ...how,
    ] // prettier-ignore
    const child = spawn(findNode(), args, {
      cwd: root,
      env: { ...process.env, SUBMARINE_ADMIN_PASSWORD: password, ...this.#env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const log = createWriteStream(`${this.data}.log`, { flags: 'a' })
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    this.process = child
    return child
  }

  /** kill -9, or another signal; resolves when the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }

  /** What it has started as plain processes and not cleared away yet. */
  processes(): Promise<NonNullable<Running['leader']>[]> {
    return processesIn(this.data)
  }

  get running(): boolean {
    return this.process !== undefined && this.process.exitCode === null && this.process.signalCode === null
  }

  log(): Promise<string> {
    return readFile(`${this.data}.log`, 'utf8').catch(() => '')
  }
}

/** What an agent ran as plain processes outlives it, which is right for an agent and wrong for a test. */
export async function endTasksIn(data: string): Promise<void> {
  for (const leader of await processesIn(data)) if (isAlive(leader)) signalGroup(leader.pid, 'SIGKILL')
}

async function processesIn(data: string): Promise<NonNullable<Running['leader']>[]> {
  const folder = join(data, 'processes')
  const found: NonNullable<Running['leader']>[] = []
  for (const attempt of await readdir(folder).catch(() => [])) {
    const files = filesIn(join(folder, attempt))
    const running = await readFile(files.running, 'utf8').catch(() => '{}')
    const { leader } = JSON.parse(running) as Partial<Running>
    if (leader) found.push(leader)
  }
  return found
}

const engineArgs = (engine: LabEngine | undefined): string[] =>
  engine
    ? ['--docker-socket', engine.socket, ...(engine.image ? ['--default-image', engine.image] : [])]
    : ['--no-docker', '--process-runtime']

export class Lab {
  readonly folder: string
  readonly agents: readonly Agent[]
  #token = ''

  private constructor(folder: string, agents: readonly Agent[]) {
    this.folder = folder
    this.agents = agents
  }

  /** A cluster whose nodes are all ready, with every agent a voter that should be one. */
  static async start(options: LabOptions = {}): Promise<Lab> {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'submarine-lab-')))
    await mkdir(folder, { recursive: true })
    const { docker, cpu = 2, memory = 1024 ** 3, demoFile } = options
    const args = [
      '--share-cpu', String(cpu), '--share-memory', String(memory),
      ...(options.args ?? []),
    ] // prettier-ignore
    const engines = docker === undefined ? [] : 'socket' in docker ? [docker] : docker
    const agents = Array.from(
      { length: options.agents ?? 3 },
      (_, at) =>
        new Agent(
          `host-${at + 1}`,
          folder,
          [...args, ...engineArgs(engines[at % engines.length])],
          options.env,
        ),
    )
    const lab = new Lab(folder, agents)
    try {
      await lab.newPorts()
      for (const agent of agents) agent.advertised = await options.link?.(agent)
      await lab.#grow(demoFile ? { SUBMARINE_DEMO_FILE: demoFile } : {})
    } catch (error) {
      await lab.stop()
      throw error
    }
    return lab
  }

  async #grow(env: NodeJS.ProcessEnv): Promise<void> {
    const [first, ...others] = this.agents
    await first?.start(['--create', '--cluster-name', 'lab'], env)
    if (first) first.node = 'node-1'
    await this.signIn()
    for (const agent of others) await this.join(agent, env)
    await this.ready()
  }

  /** Let an agent with an empty data folder in; it may have been another node before. */
  async join(agent: Agent, env: NodeJS.ProcessEnv = {}): Promise<void> {
    const { token } = await this.client().call('joinTokens.create', {})
    await agent.start(['--join', token], env)
    agent.node = (await this.client().call('nodes.get', { params: { node: agent.name } })).id
  }

  /** Every node is ready, and as many vote as should. */
  async ready(count = this.agents.length): Promise<Node[]> {
    const voters = count >= 5 ? 5 : count >= 3 ? 3 : 1
    let items: Node[] = []
    await eventually('every node is ready', async () => {
      items = (await this.client().call('nodes.list', {})).items
      const ready = items.filter((node) => node.liveness === 'ready' && node.inventory)
      return ready.length === count && items.filter((node) => node.role === 'voter').length === voters
    })
    return items
  }

  async signIn(): Promise<void> {
    await eventually('signed in', async () => {
      try {
        this.#token = (
          await this.client().call('session.create', { body: { user: 'admin', password } })
        ).token
        return true
      } catch (error) {
        if (error instanceof ProblemError && error.code === 'bad_credentials') return false
        throw error
      }
    })
  }

  get token(): string {
    return this.#token
  }

  /** Talks to the given agent alone, or to whichever answers; waits out elections. */
  client(only?: Agent): Client {
    return createClient(async (path, init) => {
      const headers = {
        ...(init.headers as Record<string, string>),
        ...(this.#token ? { authorization: `Bearer ${this.#token}` } : {}),
      }
      if (only) return fetch(only.url + path, { ...init, headers })
      const deadline = performance.now() + 30_000
      for (;;) {
        for (const agent of this.agents.filter(({ running }) => running)) {
          const response = await fetch(agent.url + path, { ...init, headers }).catch(() => undefined)
          if (response && response.status !== 503) return response
        }
        if (performance.now() > deadline) throw new Error(`no agent answered ${path} for 30 s`)
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    })
  }

  agentOf(node: string | null): Agent {
    const agent = this.agents.find((each) => each.node === node)
    if (!agent) throw new Error(`no agent runs ${String(node)}`)
    return agent
  }

  async leader(): Promise<Agent> {
    let leader: string | null = null
    await eventually('there is a leader', async () => {
      leader = (await this.client().call('cluster.get', {})).leader
      return leader
    })
    return this.agentOf(leader)
  }

  submit(body: ExperimentInput, headers: Record<string, string> = {}): Promise<Experiment> {
    return this.client().call('experiments.create', { body, headers })
  }

  get(id: string): Promise<Experiment> {
    return this.client().call('experiments.get', { params: { experiment: id } })
  }

  async until(id: string, what: (experiment: Experiment) => boolean, seconds = 60): Promise<Experiment> {
    let experiment: Experiment | undefined
    await eventually(
      `experiment ${id}`,
      async () => {
        experiment = await this.get(id)
        return what(experiment)
      },
      seconds,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${JSON.stringify(experiment, null, 1)}`)
    })
    return experiment as Experiment
  }

  ended(id: string, seconds = 60): Promise<Experiment> {
    return this.until(id, ({ state }) => isFinal(state), seconds)
  }

  /** Every kept log line of an experiment. */
  async logOf(id: string, query: Record<string, unknown> = {}): Promise<string[]> {
    const lines: string[] = []
    for await (const { data } of this.client().events('experiments.logs', {
      params: { experiment: id },
      query,
    }))
      lines.push(data.text)
    return lines
  }

  /** The given agents listen elsewhere from their next start on. */
  async newPorts(agents = this.agents): Promise<void> {
    const ports = await freePorts(agents.length * 2)
    for (const [at, agent] of agents.entries()) {
      agent.tls = ports[at * 2] ?? 0
      agent.http = ports[at * 2 + 1] ?? 0
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.kill()))
    for (const agent of this.agents) await endTasksIn(agent.data)
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10 })
  }
}

/** Wait for a condition that will come; fails with its name when it does not. */
export async function eventually(what: string, condition: () => unknown, seconds = 60): Promise<void> {
  const deadline = performance.now() + seconds * 1000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${seconds} s in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Ports nobody listens on. All are held open until the last is found, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}
