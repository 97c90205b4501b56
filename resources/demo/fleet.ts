import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Client, createClient, ProblemError } from '../../contract/index.ts'
import type { Engine } from './engine.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const names = ['sub-1', 'sub-2', 'sub-3'] as const

export interface Fleet {
  readonly address: string
  readonly user: string
  readonly password: string
  readonly client: Client
  readonly demoFile: string
  readonly cliHints: string
  /** Stops the experiments, then the agents; resolves when they are gone. */
  stop(): Promise<void>
}

interface FleetOptions {
  readonly data: string
  readonly engine: Engine | undefined
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

interface Agent {
  readonly name: string
  readonly http: number
  readonly process: ChildProcess
}

/** Three agents of one cluster, each with a third of this machine, reached by plain HTTP on loopback. */
export async function startFleet({ data, engine, signal, say }: FleetOptions): Promise<Fleet> {
  await mkdir(data, { recursive: true })
  const demoFile = path.join(data, 'demo.json')
  const password = randomBytes(9).toString('base64url')
  const agents: Agent[] = []
  const stopAgents = () => Promise.all(agents.map(({ process }) => endProcess(process)))
  try {
    const ports = await freePorts(7460, 6)
    const start = async (index: number, how: string[]) => {
      const [tls = 0, http = 0] = ports.slice(index * 2, index * 2 + 2)
      const agent = spawnAgent({ data, engine, name: names[index] ?? '', tls, http, how, demoFile, password })
      agents.push(agent)
      await answered(agent, signal)
      return agent
    }
    const first = await start(0, ['--create', '--cluster-name', 'demo'])
    const send = failover(agents)
    const token = await signIn(send, password, signal)
    const client = createClient((url, init) => send(url, authorized(init, token)))
    for (const index of [1, 2]) {
      const join = await client.call('joinTokens.create', {})
      await start(index, ['--join', join.token])
    }
    await allReady(client, signal)
    say(`Three agents are one cluster: ${names.join(', ')}.`)
    const address = `http://localhost:${first.http}`
    return {
      address, user: 'admin', password, client, demoFile,
      cliHints: [
        `  npm run submarine -- login ${address}`,
        '  npm run submarine -- node list',
        '  npm run submarine -- experiment list',
      ].join('\n'),
      stop: async () => {
        await stopExperiments(client).catch(() => undefined)
        await stopAgents()
      },
    } // prettier-ignore
  } catch (error) {
    await stopAgents()
    throw error
  }
}

interface AgentStart {
  data: string
  engine: Engine | undefined
  name: string
  tls: number
  http: number
  how: string[]
  demoFile: string
  password: string
}

function spawnAgent({ data, engine, name, tls, http, how, demoFile, password }: AgentStart): Agent {
  const share = (total: number, reserve: number, unit: number) =>
    Math.floor((total - reserve) / names.length / unit) * unit
  const cpu = Math.max(0.5, share(os.availableParallelism(), 0.5, 0.1)).toFixed(1)
  const memory = share(os.totalmem(), Math.max(2 * 1024 ** 3, os.totalmem() / 20), 1024 ** 2)
  const args = [
    'cli/index.ts', 'agent', 'start', '--data', path.join(data, name), '--name', name, ...how,
    '--bind', `127.0.0.1:${tls}`, '--advertise', `127.0.0.1:${tls}`, '--http-loopback', String(http),
    '--share-cpu', cpu, '--share-memory', String(memory),
    ...(engine ? ['--docker-socket', engine.socket, '--default-image', engine.image] : ['--no-docker', '--process-runtime']),
    '--log-level', 'info',
  ] // prettier-ignore
  const log = createWriteStream(path.join(data, `${name}.log`))
  const env = { ...process.env, SUBMARINE_ADMIN_PASSWORD: password, SUBMARINE_DEMO_FILE: demoFile }
  // Its own process group: Ctrl-C reaches the demo alone, which then stops the agents in order.
  const child = spawn(process.execPath, args, {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  child.stdout.pipe(log)
  child.stderr.pipe(log)
  return { name, http, process: child }
}

/** Two ports for each agent, consecutive from the usual one where it is free. */
async function freePorts(from: number, count: number): Promise<number[]> {
  const found: number[] = []
  for (let port = from; found.length < count && port < from + 1000; port++)
    if (await isFree(port)) found.push(port)
  if (found.length < count) throw new Error(`no ${count} free ports from ${from} on`)
  return found
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

type Send = Parameters<typeof createClient>[0]

/** Ask the agents in turn until one answers: any of them may be down. */
function failover(agents: readonly Agent[]): Send {
  return async (url, init) => {
    let last: unknown
    for (const { http } of agents)
      try {
        return await fetch(`http://127.0.0.1:${http}${url}`, init)
      } catch (error) {
        last = error
      }
    throw new ProblemError('no_leader', 'no agent of the demo answers', { cause: last })
  }
}

const authorized = (init: RequestInit, token: string): RequestInit => ({
  ...init,
  headers: { ...(init.headers as Record<string, string>), authorization: `Bearer ${token}` },
})

async function answered(agent: Agent, signal: AbortSignal): Promise<void> {
  await eventually(signal, `agent ${agent.name} to answer`, async () => {
    if (agent.process.exitCode !== null)
      throw new Error(`agent ${agent.name} ended with ${agent.process.exitCode}; see its log`)
    const response = await fetch(`http://127.0.0.1:${agent.http}/livez`).catch(() => undefined)
    return response?.ok ?? false
  })
}

async function signIn(send: Send, password: string, signal: AbortSignal): Promise<string> {
  const client = createClient(send)
  let token = ''
  await eventually(signal, 'the cluster to be formed', async () => {
    try {
      token = (await client.call('session.create', { body: { user: 'admin', password } })).token
    } catch (error) {
      // Not founded yet, or not yet led.
      if (
        error instanceof ProblemError &&
        ['bad_credentials', 'no_leader', 'rate_limited'].includes(error.code)
      )
        return false
      throw error
    }
    return true
  })
  return token
}

async function allReady(client: Client, signal: AbortSignal): Promise<void> {
  await eventually(signal, 'three nodes to be ready', async () => {
    const { items } = await client.call('nodes.list', {})
    return (
      items.filter((node) => node.liveness === 'ready' && node.inventory && node.role === 'voter').length ===
      names.length
    )
  })
}

async function eventually(
  signal: AbortSignal,
  what: string,
  condition: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!(await condition())) {
    signal.throwIfAborted()
    if (performance.now() > deadline) throw new Error(`waited 60 s for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

async function stopExperiments(client: Client): Promise<void> {
  const { items } = await client.call('experiments.list', { query: { page_size: 1000 } })
  const active = items.filter(({ finished_at }) => !finished_at)
  for (const { id } of active)
    await client.call('experiments.stop', { params: { experiment: id } }).catch(() => undefined)
  await eventually(AbortSignal.timeout(30_000), 'the experiments to stop', async () => {
    const now = await client.call('experiments.list', { query: { page_size: 1000 } })
    return now.items.every(({ finished_at }) => finished_at)
  })
}

function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    const hard = setTimeout(() => child.kill('SIGKILL'), 10_000)
    child.once('exit', () => {
      clearTimeout(hard)
      resolve()
    })
    child.kill('SIGTERM')
  })
}
