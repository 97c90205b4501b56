import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pinnedAgent } from '../../cli/connection/transport.ts'
import { type Client, type Cluster, createClient, type Node, ProblemError } from '../../contract/index.ts'
import { endTasksIn, eventually, password } from '../cluster/lab.ts'
import { type Lan, startLan } from '../docker/lan.ts'
import { ChaosAgent } from './agent.ts'

/** How long a client waits where nothing else is said; what takes longer has an unknown end. */
const patienceMs = 5000

/** Real agents, each on a host of its own, as one cluster; and clients that speak to them over HTTPS. */
export class Fleet {
  readonly folder: string
  readonly lan: Lan
  readonly agents: readonly ChaosAgent[]
  #dispatcher: ReturnType<typeof pinnedAgent> | undefined
  #token = ''
  /** Also at the end of a run that was interrupted: nobody else would know of the disks. */
  readonly #removeDisks = () => {
    for (const agent of this.agents) agent.removeDisk()
  }

  private constructor(folder: string, lan: Lan) {
    this.folder = folder
    this.lan = lan
    this.agents = lan.hosts.map(
      (host, at) => new ChaosAgent({ host, folder, name: `host-${at + 1}`, password }),
    )
  }

  static async start(count: number): Promise<Fleet> {
    const lan = await startLan(count)
    const fleet = new Fleet(await mkdtemp(join(tmpdir(), 'submarine-chaos-')), lan)
    try {
      for (const agent of fleet.agents) await agent.prepare()
      process.once('exit', fleet.#removeDisks)
      await fleet.#grow()
    } catch (error) {
      await fleet.stop()
      throw error
    }
    return fleet
  }

  async #grow(): Promise<void> {
    const [first, ...others] = this.agents
    if (!first) throw new RangeError('expected at least one agent')
    first.start(['--create', '--cluster-name', 'chaos'])
    const ca = join(first.data, 'tls', 'ca.pem')
    await eventually('the cluster has a certificate', () => readFile(ca).catch(() => false))
    this.#dispatcher = pinnedAgent(await readFile(ca, 'utf8'))
    await eventually('signed in', async () => {
      const body = { user: 'admin', password }
      this.#token = await this.client(first)
        .call('session.create', { body })
        .then(
          ({ token }) => token,
          () => '',
        )
      return this.#token
    })
    for (const agent of others) {
      const { token } = await this.client(first).call('joinTokens.create', {})
      agent.start(['--join', token])
      await this.answering(agent)
    }
    await this.ready()
  }

  answering(agent: ChaosAgent): Promise<void> {
    return eventually(`${agent.name} answers`, async () => {
      const answer = await this.#fetch(`${agent.origin}/livez`, {}).catch(() => undefined)
      return answer?.ok
    })
  }

  /** Every agent answers, every node is ready, all vote. */
  async ready(seconds = 90): Promise<Node[]> {
    let items: Node[] = []
    const voters = this.agents.length >= 5 ? 5 : 3
    const isReady = async () => {
      for (const agent of this.agents) {
        const list = await this.client(agent)
          .call('nodes.list', {})
          .catch(() => undefined)
        if (!list) return false
        items = list.items
      }
      const ready = items.filter(({ liveness, inventory }) => liveness === 'ready' && inventory)
      return (
        ready.length === this.agents.length && items.filter(({ role }) => role === 'voter').length === voters
      )
    }
    await eventually('every agent is ready again', isReady, seconds).catch((error: unknown) => {
      const seen = items.map(({ name, liveness, role }) => `${name} ${liveness} ${role}`).join(', ')
      throw new Error(`${String(error)}; last seen: ${seen || 'no answer'}`)
    })
    return items
  }

  client(agent: ChaosAgent, ms = patienceMs): Client {
    return createClient((path, init) => this.#fetch(agent.origin + path, init, ms))
  }

  async #fetch(url: string, init: RequestInit, ms = patienceMs): Promise<Response> {
    const headers = {
      ...(init.headers as Record<string, string>),
      ...(this.#token ? { authorization: `Bearer ${this.#token}` } : {}),
    }
    const signal = AbortSignal.timeout(ms)
    const response = await fetch(url, {
      ...init,
      headers,
      signal,
      dispatcher: this.#dispatcher,
    })
    // Read whole within the same time: an agent may stop half-way through its answer.
    const body = response.status === 204 ? null : await response.arrayBuffer()
    return new Response(body, { status: response.status, headers: response.headers })
  }

  /** What each running agent itself holds for true of the cluster. */
  async views(): Promise<{ agent: ChaosAgent; cluster: Cluster }[]> {
    const views = this.agents.map(async (agent) => {
      const query = { consistency: 'local' as const }
      const ask = this.client(agent).call('cluster.get', { query })
      const cluster = await ask.catch(() => undefined)
      return cluster ? [{ agent, cluster }] : []
    })
    return (await Promise.all(views)).flat()
  }

  /** The leader of the newest term that anybody knows. */
  async leader(seconds = 60): Promise<ChaosAgent> {
    let leader: ChaosAgent | undefined
    await eventually(
      'there is a leader',
      async () => {
        const led = (await this.views()).filter(({ cluster }) => cluster.leader !== null)
        const newest = led.toSorted((a, b) => b.cluster.term - a.cluster.term)[0]?.cluster
        leader = newest && this.agentOf(newest.leader)
        return leader
      },
      seconds,
    )
    return leader as ChaosAgent
  }

  agentOf(node: string | null): ChaosAgent {
    const agent = this.agents[Number(node?.replace('node-', '')) - 1]
    if (!agent) throw new ProblemError('not_found', `no agent runs ${String(node)}`)
    return agent
  }

  async stop(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.stop()))
    for (const agent of this.agents) await endTasksIn(agent.data)
    await this.#dispatcher?.destroy()
    process.removeListener('exit', this.#removeDisks)
    this.#removeDisks()
    await this.lan.stop()
  }

  removeFolder(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true, maxRetries: 10 })
  }
}
