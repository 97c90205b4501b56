import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Actor, ProblemError } from '../../contract/index.ts'
import type { LogDouble } from '../services/testing/cluster-double.ts'
import { belongTogether, certificatesIn, type Credentials, fingerprint, issuerOf, type Pair, succeedCa } from './identity/ca.ts' // prettier-ignore
import { nodeIdOf } from './rules/members.ts'
import { theCluster } from './state.ts'
import { type Certified, certified, forged, reaches, resigned } from './testing/certified.ts'
import { cleanUp, closed, later } from './wire/testing/agent.ts'
import { alpn } from './wire/tls.ts'

afterEach(cleanUp)

const admin: Actor = { kind: 'user', name: 'admin', rank: 'admin' }
const system: Actor = { kind: 'system' }
const row = (log: LogDouble) => log.state.cluster.get(theCluster) as NonNullable<ReturnType<typeof log.state.cluster.get>> // prettier-ignore
const codes = (log: LogDouble) => log.events.map(({ code }) => code).filter((code) => code.includes('.ca_'))
const retired = (log: LogDouble) => vi.waitFor(() => expect(row(log).former_ca).toBeUndefined())

/** Trusts this authority and nothing else, and has a certificate of it, in memory and on its disk. */
function expectMoved(log: LogDouble, one: Certified): void {
  const ca = row(log).ca
  for (const { ca: trusted, cert, key } of [one.certificates.current, one.disk()]) {
    expect(certificatesIn(trusted).map(fingerprint)).toEqual([fingerprint(ca)])
    expect(belongTogether({ ca, cert, key })).toBe(true)
  }
}

async function expectAllTalk(all: readonly Certified[]): Promise<void> {
  for (const from of all)
    for (const to of all)
      if (from !== to) expect([from.member, to.member, await reaches(from, to)]).toEqual([from.member, to.member, true]) // prettier-ignore
}

describe('a new certificate authority', () => {
  it('is had by all members without a break, and with the last one the old one goes', async () => {
    const { log, ca, all } = await certified(3)
    const keys = all.map((one) => one.disk().key)
    await all[0]?.rotation.rotate(admin)
    await expectAllTalk(all)
    await retired(log)
    await vi.waitFor(() => all.forEach((one) => expectMoved(log, one)))
    await expectAllTalk(all)
    expect(fingerprint(row(log).ca)).not.toBe(fingerprint(ca.cert))
    expect(all.map((one) => one.disk().key)).toEqual(keys)
    expect(codes(log)).toEqual(['cluster.ca_replaced', 'cluster.ca_retired'])
    expect(log.audit.find(({ action }) => action === 'authority.rotate')).toMatchObject({
      object: { kind: 'cluster', id: null },
      decision: 'allowed',
    })
  })

  it('is asked for at any agent, and again and again; who trusts the first one follows all of them', async () => {
    const { log, ca, all } = await certified(3)
    for (const one of [...all, ...all]) {
      await one.rotation.rotate(admin)
      await retired(log)
      await vi.waitFor(() => all.forEach((other) => expectMoved(log, other)))
    }
    await expectAllTalk(all)
    // Four steps back, and not further: what is shown does not grow for ever.
    expect(row(log).ca_links).toHaveLength(4)
    expect(await verifies(all[0] as Certified, ca.cert)).toBe(false)
  })

  it('is trusted by clients that know the old one alone, also over two steps', async () => {
    const { log, ca, all } = await certified(2)
    for (let step = 0; step < 2; step++) {
      await all[0]?.rotation.rotate(admin)
      await retired(log)
      await vi.waitFor(() => all.forEach((other) => expectMoved(log, other)))
    }
    expect(await verifies(all[1] as Certified, ca.cert)).toBe(true)
    expect(await verifies(all[1] as Certified, row(log).ca)).toBe(true)
    const { ca: stranger } = await succeedCa(ca)
    expect(await verifies(all[1] as Certified, stranger.cert)).toBe(false)
  })

  it('is not had twice at once, and nothing is left behind by a leader that dies before the command', async () => {
    const { log, all } = await certified(3)
    const [first, second, third] = all as [Certified, Certified, Certified]
    third.behind = log.state
    const dies = vi.spyOn(first.cluster, 'propose').mockRejectedValue(new ProblemError('outcome_unknown'))
    const before = log.state
    await expect(first.rotation.rotate(admin)).rejects.toMatchObject({ code: 'outcome_unknown' })
    expect(log.state).toBe(before)
    dies.mockRestore()
    log.setLeader('node-2')
    await first.rotation.rotate(admin)
    await expect(second.rotation.rotate(admin)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('host-3') as string,
    })
    third.behind = undefined
    await third.certificates.look()
    await retired(log)
    await expect(second.rotation.finish(admin)).rejects.toMatchObject({ code: 'conflict' })
  })

  it('ends join tokens of before, and waits no longer for a node that is removed', async () => {
    const { log, all } = await certified(3)
    const [first, , third] = all as [Certified, Certified, Certified]
    log.propose({ type: 'joinToken.create', sha256: 'old', expires_at: '2030-01-01T00:00:00.000Z' }, admin)
    third.behind = log.state
    await first.rotation.rotate(admin)
    expect(log.state.joinTokens.size).toBe(0)
    await vi.waitFor(() => expect(log.state.nodes.get('node-2')?.certificate?.ca).toBe(fingerprint(row(log).ca)))
    expect(row(log).former_ca).toBeDefined()
    log.propose({ type: 'node.remove', node: 'node-3', force: true }, admin)
    expect(row(log).former_ca).toBeUndefined()
  }) // prettier-ignore

  it('is refused where another one came in between, and a node keeps its key', async () => {
    const { log } = await certified(2)
    const command = {
      type: 'authority.rotate',
      from: 'other',
      ca: 'x',
      sealed_ca_key: 'x',
      link: 'x',
    } as const
    expect(() => log.propose(command, admin)).toThrow(/replaced meanwhile/)
    expect(() => log.propose({ type: 'node.certificate', node: 'node-2', key: 'another', ca: 'x' }, system)).toThrow(/another key/) // prettier-ignore
  })
})

/** What a client says of the member's certificate that trusts this authority alone. */
async function verifies(of: Certified, ca: string): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port: of.agent.port, ca, ALPNProtocols: ['http/1.1'], checkServerIdentity: () => undefined }) // prettier-ignore
  later(() => void socket.destroy())
  return once(socket, 'secureConnect').then(
    () => socket.authorized,
    () => false,
  )
}

describe('a node that was away while the authority was replaced', () => {
  async function cameBack(times: number) {
    const { log, all } = await certified(3)
    const [first, second, third] = all as [Certified, Certified, Certified]
    third.behind = log.state
    for (let step = 0; step < times; step++) {
      await first.rotation.rotate(admin)
      await vi.waitFor(() => expect(log.state.nodes.get('node-2')?.certificate?.ca).toBe(fingerprint(row(log).ca))) // prettier-ignore
      await first.rotation.finish(admin)
      await vi.waitFor(() => [first, second].forEach((one) => expectMoved(log, one)))
    }
    return { log, first, second, third }
  }

  it.each([1, 2])('is let in again by its key, %i replaced', async (times) => {
    const { log, first, second, third } = await cameBack(times)
    expect(await reaches(first, third)).toBe(false)
    // It trusts what it meets, is not trusted, and asks for a new certificate.
    expect(await reaches(third, first)).toBe(false)

    await vi.waitFor(async () => expect(await reaches(third, first)).toBe(true))
    expect(await reaches(second, third)).toBe(true)
    // What it knows by itself is still the old state: the folder opens all the same.
    expect(belongTogether(third.disk())).toBe(true)
    third.behind = undefined
    await third.certificates.look()
    expectMoved(log, third)
    expect(row(log).former_ca).toBeUndefined()
  })

  it('signs for nobody meanwhile: what it would sign is not taken', async () => {
    const { log, first, second, third } = await cameBack(1)
    // Both have the cluster key; the second knows nothing of the new authority either.
    second.behind = third.behind
    third.certificates.metNewer()
    await vi.waitFor(async () => expect(await reaches(third, first)).toBe(true))
    expect(issuerOf(third.certificates.current.cert, [row(log).ca])).toBe(row(log).ca)
  })
})

describe('attack: the key of the former authority, stolen', () => {
  async function thief(): Promise<{ log: LogDouble; first: Certified; ca: Pair; fake: Credentials }> {
    const { log, ca, all } = await certified(3)
    return { log, first: all[0] as Certified, ca, fake: await forged(ca, 2) }
  }
  async function dialled(to: Certified, shown: Credentials, protocol: string, session?: Buffer): Promise<TLSSocket> {
    const socket = connect({
      host: '127.0.0.1', port: to.agent.port, ...shown, ALPNProtocols: [protocol], rejectUnauthorized: false,
      ...(session ? { session } : {}),
    })
    socket.on('error', () => undefined)
    later(() => void socket.destroy())
    await once(socket, 'secureConnect')
    return socket
  } // prettier-ignore
  const hello = 'GET /hello HTTP/1.1\r\nhost: x\r\n\r\n'
  async function heard(to: Certified, shown: Credentials, session?: Buffer): Promise<boolean> {
    const socket = await dialled(to, shown, alpn.peer, session)
    socket.write(hello)
    return Promise.race([once(socket, 'data').then(() => true), closed(socket).then(() => false)])
  }
  const replaced = async (log: LogDouble, { rotation }: Certified) => {
    await rotation.rotate(admin)
    await retired(log)
  }

  it('opens everything before, so that what follows proves something', async () => {
    const { first, fake } = await thief()
    expect(await heard(first, fake)).toBe(true)
    expect(JSON.parse(await text(await dialled(first, fake, alpn.renew)))).toHaveProperty('certificate')
  })

  it('opens nothing after: no door, no connection of before, no session resumed', async () => {
    const { log, first, fake } = await thief()
    const open = await dialled(first, fake, alpn.peer)
    const session = once(open, 'session') as Promise<[Buffer]>
    open.write(hello)
    await once(open, 'data')
    const [ticket] = await session
    expect((await dialled(first, fake, alpn.peer, ticket)).isSessionReused()).toBe(true)
    await replaced(log, first)
    await closed(open)
    expect(await heard(first, fake)).toBe(false)
    expect(await heard(first, fake, ticket)).toBe(false)
    expect(JSON.parse(await text(await dialled(first, fake, alpn.renew)))).toEqual({
      refused: 'no certificate of this cluster was shown',
    })
  })

  it('makes no authority of its own: one that the old one vouches for is trusted by nobody who knows the new one', async () => {
    const { log, first, ca } = await thief()
    const { ca: own, link } = await succeedCa(ca)
    await replaced(log, first)
    expect(await heard(first, await forged(own, 2, [link]))).toBe(false)
  })

  it('renews the true certificate of a member for whoever has that one’s key, and for nobody else', async () => {
    const { log, first, ca } = await thief()
    const before = log.state.nodes.get(nodeIdOf(2))?.certificate?.key
    await replaced(log, first)
    const { cert, key } = await forged(ca, 3)
    const inTheNameOfTwo = { ca: ca.cert, cert: await resigned(ca, cert, 2), key }
    expect(JSON.parse(await text(await dialled(first, inTheNameOfTwo, alpn.renew)))).toHaveProperty('refused')
    expect(log.state.nodes.get(nodeIdOf(2))?.certificate?.key).toBe(before)
  })
})
