import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Admission } from '../../../agent/cluster/admission.ts'
import { createCa, createKeyAndRequest, memberOf, type Pair } from '../../../agent/cluster/identity/ca.ts'
import { parseJoinToken } from '../../../agent/cluster/identity/join-token.ts'
import { seal } from '../../../agent/cluster/identity/seal.ts'
import { caKeyContext, ClusterSigner } from '../../../agent/cluster/signer.ts'
import { type ClusterRow, theCluster } from '../../../agent/cluster/state.ts'
import { serve, type Served } from '../../../agent/http/testing/served.ts'
import { JoinReply, type JoinRequest, JoinToken } from '../../../contract/index.ts'

let served: Served
let ca: Pair
beforeEach(async () => {
  ca = await createCa('lab')
  const admission: { admit?: Admission } = {}
  served = await serve({
    nodes: 1,
    services: { admit: (request) => (admission.admit as Admission).admit(request) },
  })
  const { world } = served
  const state = () => {
    const row = world.log.state.cluster.get(theCluster) as ClusterRow
    const own = { ...row, ca: ca.cert, sealed_ca_key: seal(world.key, ca.key, caKeyContext(row.id)) }
    return { ...world.log.state, cluster: world.log.state.cluster.set(theCluster, own) }
  }
  admission.admit = new Admission(world.cluster, new ClusterSigner(state, () => world.key))
})
afterEach(() => served.close())

const json = { 'content-type': 'application/json' }
const post = (path: string, headers: Record<string, string>, body?: unknown) =>
  served.fetch(path, { method: 'POST', headers, ...(body ? { body: JSON.stringify(body) } : {}) })

/** As `submarine cluster token` has it made. */
async function secret(): Promise<string> {
  const answer = await post('/api/v2/join-tokens', { authorization: `Bearer ${served.world.signIn()}` }) // prettier-ignore
  return parseJoinToken(JoinToken.parse(await answer.json()).token).secret
}
const host = async (secret: string, name: string): Promise<JoinRequest> => ({
  secret,
  name,
  address: '10.0.0.9:7460',
  request: (await createKeyAndRequest()).request,
})
const join = (request: JoinRequest) => post('/api/v2/cluster/join', json, request)
const codeOf = async (answer: Response) => [answer.status, ((await answer.json()) as { code: string }).code]
const nodes = () => [...served.world.log.state.nodes.values()].map(({ name }) => name)
const refused = [401, 'bad_credentials']

describe('attack: a join token that is used again', () => {
  it('by whoever heard the request of the host that joined: with its request, or one of their own', async () => {
    const first = await host(await secret(), 'host-2')
    const answer = await join(first)
    expect(answer.status).toBe(201)
    expect(memberOf(JoinReply.parse(await answer.json()).certificate)?.member).toBe(2)
    expect(await codeOf(await join(first))).toEqual(refused)
    expect(await codeOf(await join(await host(first.secret, 'host-3')))).toEqual(refused)
    expect(nodes()).toEqual(['host-1', 'host-2'])
  })

  it('by many at the same moment: one of them joins', async () => {
    const token = await secret()
    const requests = await Promise.all([2, 3, 4, 5, 6].map((at) => host(token, `host-${at}`)))
    const statuses = await Promise.all(requests.map(async (request) => (await join(request)).status))
    expect(statuses.toSorted()).toEqual([201, 401, 401, 401, 401])
    expect(nodes()).toHaveLength(2)
  })

  it('after it has expired, a day after it was made', async () => {
    const token = await secret()
    const [made] = served.world.log.state.joinTokens.values()
    expect(Date.parse(made?.expires_at ?? '') - served.world.now).toBe(24 * 3_600_000)
    const { log } = served.world
    const [sha256] = log.state.joinTokens.keys()
    // As if the day were over.
    log.state = { ...log.state, joinTokens: log.state.joinTokens.set(sha256 ?? '', { expires_at: '2026-02-01T00:00:00.000Z', resource_version: 1 }) } // prettier-ignore
    expect(await codeOf(await join(await host(token, 'host-2')))).toEqual(refused)
  })

  it('a guessed one, and one cut short, are no token', async () => {
    const token = await secret()
    for (const guess of ['x'.repeat(43), token.slice(0, -1), `${token}=`])
      expect(await codeOf(await join(await host(guess, 'host-2')))).toEqual(refused)
    expect((await join(await host(token, 'host-2'))).status).toBe(201)
  })

  it('is not spent by a request that nobody could sign', async () => {
    const token = await secret()
    const unsound = { ...(await host(token, 'host-2')), request: 'PEM' }
    expect((await join(unsound)).status).toBe(400)
    expect((await join({ ...unsound, request: (await createKeyAndRequest()).request })).status).toBe(201)
  })
})
