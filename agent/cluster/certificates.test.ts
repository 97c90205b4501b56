import { X509Certificate } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { Map as ImmutableMap } from 'immutable'
import { Certificates } from './certificates.ts'
import { RenewalDoor } from './renewal-door.ts'
import { createCa, type Credentials, type Pair, renewNode } from './identity/ca.ts'
import type { NodeRow, State } from './state.ts'
import { emptyState } from './transaction.ts'
import { cleanUp, cluster, credentialsOf, later, Lines, startAgent, theCa } from './wire/testing/agent.ts'

afterEach(cleanUp)

const day = 24 * 3_600_000
const longAgo = new Date(Date.now() - 400 * day)

/** A replica that knows these members. */
async function stateOf(members: readonly number[]): Promise<State> {
  const { cert: ca } = await theCa()
  const row = { id: cluster, ca } as unknown as NonNullable<ReturnType<State['cluster']['get']>>
  const nodes = members.map((member) => [`node-${member}`, { member, name: `host-${member}`, address: '10.0.0.1:7460' } as NodeRow] as const) // prettier-ignore
  return { ...emptyState, cluster: ImmutableMap([['self', row]]), nodes: ImmutableMap(nodes) }
}

interface Made {
  certificates: Certificates
  door: RenewalDoor
  kept: Credentials[]
  lines: Lines
}

async function certificatesOf(
  member: number,
  {
    credentials,
    hasKey = false,
    members = [1, 2],
    at = '',
    ca,
  }: { credentials?: Credentials; hasKey?: boolean; members?: number[]; at?: string; ca?: Pair },
): Promise<Made> {
  const authority = ca ?? (await theCa())
  const state = await stateOf(members)
  const kept: Credentials[] = []
  const lines = new Lines()
  const shared = {
    self: { cluster, member },
    state: () => state,
    signer: {
      renew: async (cert: string, of: { member: number; name: string }) =>
        hasKey ? renewNode(cert, { ca: authority, cluster, ...of, ips: [] }) : undefined,
    },
    log: lines.log,
  }
  const certificates = new Certificates({
    ...shared,
    credentials: credentials ?? (await credentialsOf(member)),
    voters: () => [1],
    addresses: { of: async () => [at] },
    keep: async (next) => void kept.push(next),
  })
  later(() => certificates.stop())
  return { certificates, door: new RenewalDoor(shared), kept, lines }
}

/** A voter with the cluster key, at its door. */
async function voter(members = [1, 2]) {
  const { door, lines } = await certificatesOf(1, { hasKey: true, members })
  const agent = await startAgent(1, { listener: { renew: (socket) => door.answer(socket) } })
  return { at: `127.0.0.1:${agent.port}`, lines, agent }
}

const expires = ({ cert }: Credentials) => new X509Certificate(cert).validToDate.getTime()

describe('certificates', () => {
  it('are renewed by a voter for itself, with the same key, also when they have expired', async () => {
    const credentials = await credentialsOf(1, { now: longAgo })
    const { certificates, kept } = await certificatesOf(1, { credentials, hasKey: true })
    await certificates.look()
    expect(kept).toEqual([certificates.current])
    expect(certificates.current.key).toBe(credentials.key)
    expect(expires(certificates.current)).toBeGreaterThan(Date.now() + 360 * day)
  })

  it('are left as they are while more than a third of their life is left', async () => {
    const { certificates, kept } = await certificatesOf(1, { credentials: await credentialsOf(1, { now: new Date(Date.now() - 200 * day) }), hasKey: true }) // prettier-ignore
    await certificates.look()
    expect(kept).toEqual([])
  })

  it('are had from a voter by a member whose own has expired, and open the wire again', async () => {
    const { at, agent } = await voter()
    const credentials = await credentialsOf(2, { now: longAgo })
    const { certificates } = await certificatesOf(2, { credentials, at })
    agent.peers.serve('/hello', async (from, _, response) => void response.end(from))
    const caller = await startAgent(2, { credentials, state: new Map([[1, at]]) })
    await expect(caller.peers.request('node-1', { method: 'GET', path: '/hello' })).rejects.toThrow()
    await certificates.look()
    expect(expires(certificates.current)).toBeGreaterThan(Date.now())
    const renewed = await startAgent(2, { credentials: certificates.current, state: new Map([[1, at]]) })
    const { status } = await renewed.peers.request('node-1', { method: 'GET', path: '/hello' })
    expect(status).toBe(200)
  })

  it('of a removed member are not renewed, however good they are', async () => {
    const { at } = await voter([1])
    const { certificates, kept, lines } = await certificatesOf(2, { credentials: await credentialsOf(2, { now: longAgo }), at }) // prettier-ignore
    await certificates.look()
    expect(kept).toEqual([])
    expect(await lines.with('could not be renewed')).toContain('member 2 is not in the cluster')
  })

  it('of another authority, or another cluster, get nothing at that door', async () => {
    const { at } = await voter()
    const foreign = await createCa('lab')
    for (const more of [{ ca: foreign }, { cluster: 'c2' }]) {
      const { ca, key, cert } = await credentialsOf(2, { ...more, now: longAgo })
      // It trusts the voter all the same, so that it hears the answer.
      const trusting = { ca: 'ca' in more ? (await theCa()).cert : ca, key, cert }
      const { certificates, kept, lines } = await certificatesOf(2, { credentials: trusting, at })
      await certificates.look()
      expect(kept).toEqual([])
      expect(await lines.with('could not be renewed')).toContain('no certificate of this cluster')
    }
  })

  it('signed by a host whose clock is far ahead are good for hosts whose clocks are right', async () => {
    const { cert } = await credentialsOf(1, { now: longAgo })
    const ahead = new Date(Date.now() + 400 * day)
    const renewed = await renewNode(cert, {
      ca: await theCa(),
      cluster,
      member: 1,
      name: 'h',
      ips: [],
      now: ahead,
    })
    expect(new X509Certificate(renewed).validFromDate.getTime()).toBeLessThan(Date.now())
  })
})
