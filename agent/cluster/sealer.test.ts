import { Map as ImmutableMap } from 'immutable'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { LoopbackNetwork } from '../store/testing/peers.ts'
import { openEnvelope } from './identity/envelope.ts'
import { KeyRing } from './identity/key-ring.ts'
import { newClusterKey } from './identity/seal.ts'
import { credentialsContext, Sealer } from './sealer.ts'
import type { NodeRow } from './state.ts'
import { emptyState } from './transaction.ts'

const key = newClusterKey()
const context = credentialsContext('registry.lab')
let network: LoopbackNetwork
beforeEach(() => {
  network = new LoopbackNetwork()
})
afterEach(() => network.close())

/** Members 1 and 2 vote and have the key, 3 learns. */
async function sealers(): Promise<Sealer[]> {
  const ids = ['node-1', 'node-2', 'node-3']
  const row = (id: string, at: number) => [id, { id, member: at + 1 } as NodeRow] as const
  const state = { ...emptyState, nodes: ImmutableMap(ids.map(row)) }
  const made: Sealer[] = []
  for (const [at, node] of ids.entries()) {
    const peers = await network.join(node)
    const status = () => ({
      leader: 'node-1', isLeader: at === 0, term: 1, commit: 1, applied: 1, voters: [1, 2], learners: [3], leaving: [],
    }) // prettier-ignore
    made.push(
      new Sealer(
        { self: { node, member: at + 1 }, peers, status, state: () => state },
        new KeyRing(
          at < 2 ? [key] : [],
          () => undefined,
          async () => undefined,
        ),
      ),
    )
  }
  return made
}

it('a member without the cluster key has a voter seal and open for it, whichever answers', async () => {
  const [first, , learner] = await sealers()
  const sealed = (await learner?.seal('a password', context)) ?? ''
  expect(openEnvelope(key, sealed, context)).toBe('a password')
  await network.agents.get('node-1')?.kill()
  expect(await learner?.open(sealed, context)).toBe('a password')
  expect(await first?.open(sealed, context)).toBe('a password')
  await network.agents.get('node-2')?.kill()
  await expect(learner?.open(sealed, context)).rejects.toMatchObject({ code: 'node_unreachable' })
})

it('nothing else is opened for others: not what is bound to another context, nor the CA’s key', async () => {
  const [voter, , learner] = await sealers()
  const sealed = (await voter?.seal('a key', 'ca-key:c-1')) ?? ''
  await expect(learner?.open(sealed, 'ca-key:c-1')).rejects.toThrow()
  await expect(learner?.open(sealed, context)).rejects.toThrow()
})
