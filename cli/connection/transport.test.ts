import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createClient } from '../../contract/client.ts'
import { ProblemError } from '../../contract/problem.ts'
import { DoubleAgent } from '../testing/double-agent.ts'
import { DoubleCluster } from '../testing/double-cluster.ts'
import { Transport, type TransportOptions } from './transport.ts'

let cluster: DoubleCluster
const open: Transport[] = []
beforeEach(async () => {
  cluster = new DoubleCluster()
  for (let i = 0; i < 2; i++) await DoubleAgent.start(cluster)
})
afterEach(async () => {
  for (const transport of open.splice(0)) await transport.close()
  for (const agent of cluster.agents) agent.kill()
})

function clientWith(more: Partial<TransportOptions>) {
  const addresses = cluster.agents.map(({ origin }) => origin)
  const transport = new Transport({ addresses, token: 'known-token', ...more })
  open.push(transport)
  return createClient(transport.send)
}
const refuse = (why: string) => {
  for (const agent of cluster.agents)
    agent.beforeAnswer = () => {
      throw new ProblemError('no_leader', why)
    }
}

it('says once that it waits for a leader, and goes on when there is one', async () => {
  refuse('no majority')
  const told = vi.fn((_: string) => {
    for (const agent of cluster.agents) agent.beforeAnswer = () => undefined
  })
  const { items } = await clientWith({ onWait: told }).call('nodes.list', {})
  expect(items).toEqual([])
  expect(told.mock.calls).toEqual([
    [expect.stringMatching(/^waiting for a leader \(http.*: it has no leader; http/)],
  ])
})

it('ends with what an agent said when patience does, also where the others are gone', async () => {
  refuse('2 of the 3 voters must reach each other')
  cluster.agents[1]?.kill()
  const asked = clientWith({ patienceMs: 300 }).call('nodes.list', {})
  await expect(asked).rejects.toMatchObject({
    code: 'no_leader',
    message: '2 of the 3 voters must reach each other',
  })
})

it('has more patience with agents that answered before', async () => {
  const told = vi.fn((_: string) => {
    for (const agent of cluster.agents) agent.beforeAnswer = () => undefined
  })
  const client = clientWith({ patienceMs: 0, laterPatienceMs: 60_000, onWait: told })
  await client.call('nodes.list', {})
  refuse('an election')
  await client.call('nodes.list', {})
  expect(told).toHaveBeenCalledOnce()
})
