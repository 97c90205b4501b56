import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Client, createClient, type Event } from '../../contract/index.ts'
import { Child } from '../child.ts'
import { row, type Row } from '../report.ts'
import { scratchFolder } from '../scratch.ts'
import { freePorts } from '../../test/cluster/lab.ts'
import type { AgentPlace, AgentsConfig } from './agents.ts'

export interface PlacementsOptions {
  readonly agents: number
  /** Processes that they run in; the leader has one of its own. */
  readonly processes: number
  readonly experiments: number
  /** Tasks that one node holds at once. */
  readonly perNode: number
  readonly taskMs: number
}

export const usualPlacements: PlacementsOptions = {
  agents: 20,
  processes: 4,
  experiments: 2000,
  perNode: 20,
  taskMs: 1000,
}

/** All agents think that they have this host for themselves, so that tasks have to be small. */
const taskCores = 0.05
const password = 'placements of the bench'

/**
 * Whole agents with engines that only pretend: experiments of one task each are submitted over HTTP while the nodes take
 * nothing; then they do, and tasks are placed, start, end and make room for others until all were placed.
 */
export async function placements(options: PlacementsOptions): Promise<Row[]> {
  const scratch = await scratchFolder()
  const config: AgentsConfig = { password, cpu: options.perNode * taskCores, taskMs: options.taskMs }
  const file = fileURLToPath(new URL('agents.ts', import.meta.url))
  const children = Array.from({ length: options.processes }, () => new Child(file, config))
  try {
    const client = await grow(scratch.dir, options, children)
    const nodes = (await client.call('nodes.list', {})).items.map(({ id }) => id)
    for (const node of nodes) await client.call('nodes.cordon', { params: { node }, body: {} })
    await submit(client, options.experiments)
    for (const node of nodes) await client.call('nodes.uncordon', { params: { node } })
    const times = await placedAll(client, options.experiments)
    const seconds = ((times.at(-1) ?? 0) - (times[0] ?? 0)) / 1000
    const memory = await Promise.all(children.map((child) => child.ask<number>('memory')))
    return [
      row('placements committed', 'per second', [(times.length - 1) / seconds], []),
      row('memory of each of the agents', 'MiB', [memory.reduce((sum, one) => sum + one, 0) / options.agents], [], true),
    ] // prettier-ignore
  } finally {
    await Promise.all(children.map((child) => child.kill()))
    await scratch.remove()
  }
}

/** A cluster of agents, all ready, and somebody who is signed in at the first. */
async function grow(dir: string, options: PlacementsOptions, children: readonly Child[]): Promise<Client> {
  const ports = await freePorts(options.agents * 2)
  let client: Client | undefined
  for (let at = 0; at < options.agents; at++) {
    const [port = 0, http = 0] = ports.slice(at * 2)
    const place = { name: `host-${at + 1}`, data: join(dir, `host-${at + 1}`), address: `127.0.0.1:${port}`, http } // prettier-ignore
    const child = children[at === 0 ? 0 : 1 + ((at - 1) % (children.length - 1))]
    const more = client ? { join: (await client.call('joinTokens.create', {})).token } : {}
    await child?.ask('start', { ...place, ...more } satisfies AgentPlace)
    client ??= await signIn(`http://127.0.0.1:${http}`)
  }
  if (!client) throw new Error('a cluster without agents')
  for (;;) {
    const { items } = await client.call('nodes.list', {})
    const ready = items.filter(
      (node) => node.liveness === 'ready' && node.inventory && node.role !== 'joining',
    )
    if (ready.length === options.agents) break
    await pause(200)
  }
  return client
}

async function signIn(url: string): Promise<Client> {
  let token = ''
  const client = createClient((path, init) => {
    const headers = { ...(init.headers as Record<string, string>) }
    return fetch(url + path, { ...init, headers: token ? { ...headers, authorization: `Bearer ${token}` } : headers }) // prettier-ignore
  })
  ;({ token } = await client.call('session.create', { body: { user: 'admin', password } }))
  return client
}

async function submit(client: Client, count: number): Promise<void> {
  let next = 0
  const one = async (): Promise<void> => {
    while (next < count) {
      const body = { name: `placed-${next++}`, command: 'true', resources: `cpu=${taskCores}, memory=4Mi` }
      await client.call('experiments.create', { body })
    }
  }
  await Promise.all(Array.from({ length: 16 }, one))
}

/** When each was placed first, ms, as the events tell, in order. */
async function placedAll(client: Client, count: number): Promise<number[]> {
  const deadline = Date.now() + 300_000
  for (;;) {
    await pause(1000)
    const { items } = await client.call('experiments.list', { query: { page_size: 1, state: 'Queued' } })
    const accepted = await client.call('experiments.list', { query: { page_size: 1, state: 'Accepted' } })
    if (!items.length && !accepted.items.length) break
    if (Date.now() > deadline) throw new Error('not everything was placed within five minutes')
  }
  const times: number[] = []
  for await (const event of allEvents(client))
    if (event.code === 'task.placed') times.push(Date.parse(event.at))
  if (times.length < count)
    throw new Error(`${times.length} of ${count} placements were found among the events`)
  return times.toSorted((a, b) => a - b)
}

async function* allEvents(client: Client): AsyncGenerator<Event> {
  let cursor: string | undefined
  do {
    const page = await client.call('events.list', {
      query: { page_size: 1000, ...(cursor ? { page_token: cursor } : {}) },
    })
    yield* page.items
    cursor = page.next_page_token ?? undefined
  } while (cursor)
}
