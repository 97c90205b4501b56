import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Context } from '../connection/config.ts'
import { DoubleAgent } from './double-agent.ts'
import { DoubleCluster } from './double-cluster.ts'
import { makeAuthority } from './certificates.ts'

const entry = fileURLToPath(new URL('../index.ts', import.meta.url))

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

export interface Running {
  readonly ended: Promise<Ended>
  /** Resolves when the text has appeared on stdout or stderr. */
  saw(text: string): Promise<void>
  /** On stdout and stderr so far. */
  said(): string
  interrupt(): void
}

/** The real command line as a child process, with an environment of its own. */
export function startCli(
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; input?: string } = {},
): Running {
  const child = spawn(process.execPath, [entry, ...args], {
    env: { PATH: process.env.PATH, HOME: os.tmpdir(), SUBMARINE_PATIENCE_SECONDS: '5', ...options.env },
    ...(options.cwd ? { cwd: options.cwd } : {}),
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
      child.emit('output')
    })
  child.stdin.on('error', () => undefined).end(options.input ?? '')
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...output }))
  return {
    ended,
    said: () => output.stdout + output.stderr,
    interrupt: () => void child.kill('SIGINT'),
    saw: async (text) => {
      const seen = () => output.stdout.includes(text) || output.stderr.includes(text)
      while (!seen()) {
        const over = await Promise.race([once(child, 'output').then(() => false), ended.then(() => true)])
        if (over && !seen()) throw new Error(`ended without "${text}":\n${output.stdout}\n${output.stderr}`)
      }
    },
  }
}

export const runCli = (...args: Parameters<typeof startCli>): Promise<Ended> => startCli(...args).ended

/** A cluster of doubles with a sign-in to it in a configuration file of its own. */
export async function signedInCluster(agents = 1) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-cli-'))
  const cluster = new DoubleCluster(await makeAuthority())
  for (let i = 0; i < agents; i++) await DoubleAgent.start(cluster)
  const config = path.join(folder, 'config.json')
  const context: Context = {
    name: 'lab',
    cluster: { id: 'c1', name: 'lab' },
    addresses: cluster.agents.map((agent) => agent.origin),
    ca: cluster.authority?.ca ?? '',
    user: 'admin',
    token: 'known-token',
  }
  await writeFile(config, JSON.stringify({ version: 1, current: 'lab', contexts: [context] }), {
    mode: 0o600,
  })
  return {
    cluster,
    folder,
    config,
    context,
    env: { SUBMARINE_CONFIG: config },
    remove: async () => {
      for (const agent of cluster.agents) agent.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
