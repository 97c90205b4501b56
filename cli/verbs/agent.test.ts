import { describe, expect, it } from 'vitest'
import type * as realAgent from '../../agent/main.ts'
import type { AgentModule, AgentOptions, PeerAddress } from '../agent-module.ts'
import { createProgram } from '../program.ts'
import type { Terminal } from '../terminal.ts'
import { readStartOptions } from './agent.ts'

const terminal: Terminal = {
  env: {},
  cwd: '/',
  stdin: process.stdin,
  interactive: false,
  out: () => undefined,
  err: () => undefined,
  paint: (_, text) => text,
}

/** Checked by the compiler: the agent's entry is what the command line takes it for. */
export const fits = (agent: typeof realAgent): AgentModule => agent

/** Runs the command with a double of the agent that only notes what it was asked. */
async function run(...args: string[]) {
  const asked: { start?: AgentOptions; peers?: [string, readonly PeerAddress[]]; stopped: boolean } = {
    stopped: false,
  }
  const agent = {
    startAgent: (options: AgentOptions) => {
      asked.start = options
      process.nextTick(() => process.emit('SIGTERM', 'SIGTERM'))
      return Promise.resolve({ stop: () => Promise.resolve(void (asked.stopped = true)) })
    },
    setPeers: (...peers: [string, readonly PeerAddress[]]) => Promise.resolve(void (asked.peers = peers)),
  }
  const program = createProgram(
    { terminal, loadAgent: () => Promise.resolve(agent as Partial<AgentModule> as AgentModule) },
    '0',
  )
  await program.parseAsync(['node', 'submarine', 'agent', ...args])
  return asked
}

describe('submarine agent', () => {
  it('starts with every option read, runs until a signal, and stops in order', async () => {
    const asked = await run(
      'start', '--data', 'data', '--create', '--cluster-name', 'lab', '--name', 'node-1', '--advertise', '10.0.0.1:7460',
      '--bind', '[::]:7460', '--share-cpu', '1500m', '--share-memory', '2Gi', '--share-gpus', 'GPU-1, GPU-2',
      '--default-image', 'base:1', '--docker-socket', '/run/d.sock', '--process-runtime', '--http-loopback', '7000',
      '--log-level', 'warn',
    ) // prettier-ignore
    expect(asked).toMatchObject({ stopped: true })
    expect(asked.start).toEqual({
      data: '/data',
      create: { clusterName: 'lab' },
      name: 'node-1',
      advertise: '10.0.0.1:7460',
      bind: '[::]:7460',
      share: { cpu: 1.5, memory: 2 * 1024 ** 3, gpus: ['GPU-1', 'GPU-2'] },
      defaultImage: 'base:1',
      dockerSocket: '/run/d.sock',
      docker: true,
      processRuntime: true,
      httpLoopback: 7000,
      logLevel: 'warn',
    })
  })

  it('knows a restart, a creation and a joining by little', async () => {
    const plain = { data: '/d', docker: true, processRuntime: false, logLevel: 'info' }
    expect((await run('start', '--data', '/d')).start).toEqual(plain)
    expect((await run('init', '--data', '/d')).start).toEqual({
      ...plain,
      create: { clusterName: 'submarine' },
    })
    expect((await run('join', 'TOKEN', '--data', '/d', '--no-docker')).start).toEqual({
      ...plain,
      join: 'TOKEN',
      docker: false,
    })
  })

  it.each([
    { create: true, join: 't' },
    { clusterName: 'lab' },
    { shareGpus: 'GPU-1,,' },
    { dockerSocket: '/x', docker: false },
  ])('refuses %j', (options) => {
    const base = { data: 'd', docker: true, logLevel: 'info' }
    expect(() => readStartOptions({ ...base, ...options }, '/')).toThrow()
  })

  it('hands new addresses of members on', async () => {
    const asked = await run('set-peer', '--data', 'tmp', 'node-1=10.0.0.1:7460', 'node-2=[fd00::2]:7460')
    expect(asked.peers).toEqual([
      '/tmp',
      [
        { node: 'node-1', address: '10.0.0.1:7460' },
        { node: 'node-2', address: '[fd00::2]:7460' },
      ],
    ])
  })
})
