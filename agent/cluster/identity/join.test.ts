import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, expect, test } from 'vitest'
import { type JoinReply, ProblemError } from '../../../contract/index.ts'
import { createCa, createKeyAndRequest, fingerprint, type Pair, signNode } from './ca.ts'
import { requestJoin } from './join.ts'
import { encodeJoinToken, parseJoinToken } from './join-token.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

const secret = 'the one-use secret'

interface Agent {
  readonly address: string
  /** Bodies of the requests that came. */
  readonly heard: string[]
}

/** An agent's port as a joiner sees it: its certificate with the CA behind it, and an answer. */
async function agent(
  ca: Pair,
  answer: (body: string) => Promise<[number, object]> | [number, object],
  more: { chain?: string; now?: Date; member?: number } = {},
): Promise<Agent> {
  const { key, request } = await createKeyAndRequest()
  const { now } = more
  const cert = await signNode({
    ca, request, cluster: 'c1', member: 1, name: 'host-1', ips: [], ...(now ? { now } : {}),
  }) // prettier-ignore
  const heard: string[] = []
  const handler: RequestListener = (incoming, response) => {
    void (async () => {
      const body = await text(incoming)
      heard.push(`${incoming.method} ${incoming.url} ${body}`)
      const [status, reply] = await answer(body)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(reply))
    })()
  }
  const server = createServer({ key, cert: cert + (more.chain ?? `\n${ca.cert}`) }, handler)
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, heard }
}

const problem = (error: ProblemError): [number, object] => [error.status, error.toProblem()]

/** Admits by the rules: signs the request for member 5. */
const admitting =
  (ca: Pair, more: { member?: number; cluster?: string; signer?: Pair; ca?: string } = {}) =>
  async (body: string): Promise<[number, JoinReply]> => {
    const { request } = JSON.parse(body) as { request: string }
    const { member = 5, cluster = 'c1', signer = ca } = more
    const certificate = await signNode({
      ca: signer, request, cluster: 'c1', member: 5, name: 'host-5', ips: [],
    }) // prettier-ignore
    const peers = [{ member: 1, address: '10.0.0.1:7460' }]
    return [
      201,
      {
        cluster: { id: cluster, name: 'lab' },
        member,
        node: 'node-5',
        certificate,
        ca: more.ca ?? ca.cert,
        peers,
      },
    ]
  }

const tokenFor = (ca: Pair, ...agents: (Agent | string)[]) =>
  encodeJoinToken({
    addresses: agents.map((one) => (typeof one === 'string' ? one : one.address)),
    ca_sha256: fingerprint(ca.cert),
    secret,
  })

async function joiner() {
  return { name: 'host-5', address: '10.0.0.5:7460', request: (await createKeyAndRequest()).request }
}

const once1 = { rounds: 1 }

test('a host joins with its token: the secret goes with the request, the certificate comes back', async () => {
  const ca = await createCa('lab')
  const one = await agent(ca, admitting(ca))
  const reply = await requestJoin(tokenFor(ca, one), await joiner(), once1)
  expect([reply.member, reply.node, reply.ca]).toEqual([5, 'node-5', ca.cert])
  expect(one.heard).toHaveLength(1)
  expect(one.heard[0]).toMatch(/^POST \/api\/v2\/cluster\/join /)
  expect(one.heard[0]).toContain(secret)
})

test('another cluster at the address is refused before anything is sent', async () => {
  const [ca, other] = [await createCa('lab'), await createCa('lab')]
  const impostor = await agent(other, admitting(other))
  await expect(requestJoin(tokenFor(ca, impostor), await joiner(), once1)).rejects.toMatchObject({
    code: 'bad_credentials',
  })
  expect(impostor.heard).toEqual([])
})

test('who shows the right CA, but a certificate that is not by it, hears nothing', async () => {
  const [ca, other] = [await createCa('lab'), await createCa('lab')]
  // The CA's certificate is public; anybody can put it behind his own.
  const impostor = await agent(other, admitting(other), { chain: `\n${other.cert}\n${ca.cert}` })
  await expect(requestJoin(tokenFor(ca, impostor), await joiner(), once1)).rejects.toThrow()
  expect(impostor.heard).toEqual([])
})

test('a clock that disagrees is named as the cause', async () => {
  const ca = await createCa('lab')
  const later = new Date(Date.now() + 7 * 86_400_000)
  const one = await agent(ca, admitting(ca), { now: later })
  await expect(requestJoin(tokenFor(ca, one), await joiner(), once1)).rejects.toThrow(/not yet valid/)
  expect(one.heard).toEqual([])
})

test('the next address is asked when one is down or has no leader', async () => {
  const ca = await createCa('lab')
  const leaderless = await agent(ca, () => problem(new ProblemError('no_leader')))
  const good = await agent(ca, admitting(ca))
  const token = tokenFor(ca, '127.0.0.1:1', leaderless, good)
  expect((await requestJoin(token, await joiner(), once1)).member).toBe(5)
  expect([leaderless.heard.length, good.heard.length]).toEqual([1, 1])
})

test('when no address answers, each is named with its reason', async () => {
  const ca = await createCa('lab')
  const leaderless = await agent(ca, () => problem(new ProblemError('no_leader', 'no leader now')))
  const token = tokenFor(ca, '127.0.0.1:1', leaderless)
  await expect(requestJoin(token, await joiner(), once1)).rejects.toMatchObject({
    code: 'node_unreachable',
    message: expect.stringMatching(
      /127\.0\.0\.1:1: .*ECONNREFUSED.*; 127\.0\.0\.1:\d+: no leader now/,
    ) as unknown,
  })
})

test('all addresses are tried again, for a leader may be elected any moment', async () => {
  const ca = await createCa('lab')
  let asked = 0
  const admit = admitting(ca)
  const one = await agent(ca, (body) => (++asked < 3 ? problem(new ProblemError('no_leader')) : admit(body)))
  const reply = await requestJoin(tokenFor(ca, one), await joiner(), { rounds: 3, pauseMs: 1 })
  expect([reply.member, asked]).toEqual([5, 3])
})

test('a refusal that no other agent would answer differently ends it', async () => {
  const ca = await createCa('lab')
  const used = new ProblemError('bad_credentials', 'the token was used', { hint: 'make a new one' })
  const [one, two] = [await agent(ca, () => problem(used)), await agent(ca, admitting(ca))]
  await expect(requestJoin(tokenFor(ca, one, two), await joiner())).rejects.toMatchObject({
    code: 'bad_credentials',
    message: 'the token was used',
    hint: 'make a new one',
  })
  expect([one.heard.length, two.heard.length]).toEqual([1, 0])
})

test('a reply whose certificate is not what it says is not accepted', async () => {
  const [ca, other] = [await createCa('lab'), await createCa('lab')]
  for (const wrong of [{ member: 6 }, { cluster: 'c2' }, { signer: other }, { ca: other.cert }]) {
    const one = await agent(ca, admitting(ca, wrong))
    await expect(requestJoin(tokenFor(ca, one), await joiner(), once1)).rejects.toThrow(
      /not what it should be/,
    )
  }
})

test('an agent that does not answer is given up', async () => {
  const ca = await createCa('lab')
  const one = await agent(ca, () => new Promise(() => undefined))
  await expect(
    requestJoin(tokenFor(ca, one), await joiner(), { rounds: 1, timeoutMs: 300 }),
  ).rejects.toMatchObject({ code: 'node_unreachable' })
})

const ticket = { addresses: ['10.0.0.1:7460', '[2001:db8::1]:7460'], ca_sha256: 'a'.repeat(64), secret }
const tokenOf = (value: unknown) => `sdcj1.${Buffer.from(JSON.stringify(value)).toString('base64url')}`

test('a token is read as it was written, with the white space of a terminal around it', () => {
  const token = encodeJoinToken(ticket)
  expect(token).toMatch(/^sdcj1\.[A-Za-z0-9_-]+$/)
  expect(parseJoinToken(`  ${token}\n`)).toEqual(ticket)
})

test.each([
  ['', /does not begin with "sdcj1\."/],
  ['sdc_abc', /does not begin with/],
  ['sdcj2.abc', /newer version/],
  ['sdcj1.', /characters no token has/],
  ['sdcj1.a b', /characters no token has/],
  [encodeJoinToken(ticket).slice(0, -9), /cut off or damaged/],
  [tokenOf(5), /is damaged/],
  [tokenOf({ ...ticket, addresses: [] }), /addresses/],
  [tokenOf({ ...ticket, addresses: ['10.0.0.1'] }), /addresses\.0: expected HOST:PORT/],
  [tokenOf({ ...ticket, ca_sha256: 'abc' }), /ca_sha256/],
  [tokenOf({ ...ticket, secret: 'short' }), /secret/],
  [`sdcj1.${'A'.repeat(20_000)}`, /characters no token has/],
])('the token %j is refused with the reason', (token, reason) => {
  expect(() => parseJoinToken(token)).toThrow(reason)
})
