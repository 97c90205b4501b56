import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { ProblemError } from '../../../contract/index.ts'
import { LocalBlobs } from '../blobs.ts'
import { ReplicatedBlobs } from '../replicated-blobs.ts'
import { ReplicatedStreams } from '../replicated-streams.ts'
import { LocalStreams } from '../streams.ts'
import type { Space } from '../store.ts'
import { LoopbackNetwork, type LoopbackPeers } from './peers.ts'

/** TEST DOUBLE: as much space as the test says. */
export class FakeSpace implements Space {
  full = false
  check(): void {
    if (this.full) throw new ProblemError('disk_low', 'the test has no space left')
  }
  low(): boolean {
    return this.full
  }
}

export interface Agent {
  readonly node: string
  readonly data: string
  readonly peers: LoopbackPeers
  readonly space: FakeSpace
  readonly blobs: ReplicatedBlobs
  readonly streams: ReplicatedStreams
}

const timing = { delayMs: 5, retryMs: 20, idleMs: 2_000, beatMs: 50 }

/** Agents of one process with real files and real HTTP between them. */
export class Rig {
  readonly network = new LoopbackNetwork()
  readonly agents = new Map<string, Agent>()
  #root = ''

  static async start(...nodes: string[]): Promise<Rig> {
    const rig = new Rig()
    rig.#root = await mkdtemp(path.join(tmpdir(), 'store-'))
    for (const node of nodes) await rig.add(node)
    return rig
  }

  agent(node: string): Agent {
    const agent = this.agents.get(node)
    if (!agent) throw new Error(`the rig has no agent ${node}`)
    return agent
  }

  async add(node: string): Promise<Agent> {
    const peers = await this.network.join(node)
    return this.#open(node, peers)
  }

  /** As after kill -9: connections break, the process's memory is gone, the files stay. */
  async crash(node: string): Promise<void> {
    const { peers, blobs, streams } = this.agent(node)
    await peers.kill()
    await streams.close()
    await blobs.close()
  }

  async restart(node: string): Promise<Agent> {
    const { peers } = this.agent(node)
    const agent = await this.#open(node, peers)
    await peers.start()
    return agent
  }

  async #open(node: string, peers: LoopbackPeers): Promise<Agent> {
    const data = path.join(this.#root, node)
    await mkdir(data, { recursive: true })
    const space = new FakeSpace()
    const group = { peers, self: node, nodes: this.network.nodes }
    const blobs = new ReplicatedBlobs({
      ...group,
      local: await LocalBlobs.open(data, space),
      idleMs: 2_000,
      retryMs: 20,
    })
    const log = pino({ level: 'silent' })
    const streams = new ReplicatedStreams({
      ...group,
      local: await LocalStreams.open(data, space),
      log,
      timing,
    })
    const agent = { node, data, peers, space, blobs, streams }
    this.agents.set(node, agent)
    return agent
  }

  async stop(): Promise<void> {
    for (const { blobs, streams } of this.agents.values()) {
      await streams.close()
      await blobs.close()
    }
    await this.network.close()
    await rm(this.#root, { recursive: true, force: true })
  }
}

/** Resolves as soon as it holds; the test's own time limit is the only other end. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}

/** All of it, where waiting for the end is what is tested. */
export async function gather<T>(items: AsyncIterable<T>): Promise<T[]> {
  const gathered: T[] = []
  for await (const item of items) gathered.push(item)
  return gathered
}
