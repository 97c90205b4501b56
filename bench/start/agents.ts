import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent as Dispatcher, fetch } from 'undici'
import { type Client, createClient, type ExperimentInput } from '../../contract/index.ts'
import { findNode } from '../../cli/node24.js'
import type { Place, Site } from './site.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const password = 'bench bench bench bench'

/** Our agents on the hosts of a site, one each, spoken to over HTTPS. */
export interface Agents {
  readonly pids: () => number[]
  /** Ask the given agent alone, for so long at most. */
  client(at: number, timeoutMs?: number): Client
  leader(): Promise<number>
  /** Resolves when all three nodes are. */
  ready(): Promise<unknown>
  crash(at: number): Promise<void>
  /** Start it again, and wait until all nodes are ready. */
  revive(at: number): Promise<void>
  stop(): Promise<void>
}

export const task = (name: string, command: string, more: object = {}): ExperimentInput => ({
  name,
  command,
  resources: 'cpu=1,memory=64Mi',
  ...more,
})

export async function startAgents({ places, image, folder }: Site): Promise<Agents> {
  const processes = new Map<number, ChildProcess>()
  const start = (at: number, how: readonly string[] = []) =>
    processes.set(at, spawnAgent(places[at] as Place, `${folder}/agent-${at}`, image, at, how))
  const stop = async () => {
    for (const child of processes.values()) await ended(child, 'SIGTERM')
  }
  try {
    start(0, ['--create', '--cluster-name', 'bench'])
    const ca = await eventually('the first agent', () => readFile(`${folder}/agent-0/tls/ca.pem`, 'utf8').catch(() => '')) // prettier-ignore
    const dispatcher = new Dispatcher({ connect: { ca }, pipelining: 1, connections: 32 })
    let token = ''
    const client = (at: number, timeoutMs = 30_000): Client =>
      createClient(async (path, init) => {
        const headers = { ...(init.headers as Record<string, string>), ...(token ? { authorization: `Bearer ${token}` } : {}) } // prettier-ignore
        const signal = AbortSignal.timeout(timeoutMs)
        const url = `https://${places[at]?.host.address}:7460${path}`
        return await fetch(url, { ...init, headers, dispatcher, signal } as never)
      })
    token = await eventually('signing in', () =>
      client(0).call('session.create', { body: { user: 'admin', password } }).then((session) => session.token, () => '')) // prettier-ignore
    for (const at of [1, 2]) {
      const join = await client(0).call('joinTokens.create', {})
      start(at, ['--join', join.token])
    }
    const ready = () => eventually('three ready nodes', () => isReady(client(0)).catch(() => isReady(client(1))).catch(() => false)) // prettier-ignore
    await ready()
    return {
      pids: () => [...processes.values()].map((child) => child.pid ?? 0),
      client,
      leader: () => leaderOf(client, [...processes.keys()]),
      ready,
      crash: async (at) => ended(processes.get(at) as ChildProcess, 'SIGKILL'),
      revive: async (at) => {
        start(at)
        await ready()
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function spawnAgent(
  place: Place,
  data: string,
  image: string,
  at: number,
  how: readonly string[],
): ChildProcess {
  const listen = `${place.host.address}:7460`
  const [program = '', ...args] = place.host.command([
    findNode(), 'cli/index.ts', 'agent', 'start', '--data', data, '--name', `host-${at + 1}`, '--bind', listen, '--advertise', listen,
    '--docker-socket', place.engine.socket, '--default-image', image, '--share-cpu', '2', '--share-memory', '4Gi', ...how,
  ]) // prettier-ignore
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, SUBMARINE_ADMIN_PASSWORD: password },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(`${data}.log`, { flags: 'a' })
  for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false })
  return child
}

async function isReady(client: Client): Promise<boolean> {
  const { items } = await client.call('nodes.list', {})
  const good = items.filter(
    (node) => node.liveness === 'ready' && node.role === 'voter' && node.inventory?.docker,
  )
  return good.length === 3
}

async function leaderOf(client: (at: number) => Client, places: readonly number[]): Promise<number> {
  return eventually('a leader', async () => {
    for (const at of places) {
      const status = await client(at).call('cluster.get', {}).catch(() => undefined) // prettier-ignore
      const name = status?.members.find((member) => member.leader)?.name
      if (name) return { at: Number(name.replace('host-', '')) - 1 }
    }
    return undefined
  }).then(({ at }) => at)
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill(signal)
  await exited
}

/** The first answer that is one. */
export async function eventually<T>(what: string, ask: () => Promise<T>, seconds = 120): Promise<NonNullable<T>> {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (performance.now() > deadline) throw new Error(`waited ${seconds} s in vain: ${what}`)
    await pause(20)
  }
} // prettier-ignore
