import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import fastify from 'fastify'
import { afterEach, expect, test } from 'vitest'
import { createCa, fingerprint } from '../identity/ca.ts'
import { cleanUp, closed, credentialsOf, Inbox, later, Lines, startAgent, theCa } from './testing/agent.ts'
import { Listener } from './listener.ts'
import { alpn } from './tls.ts'

afterEach(cleanUp)

interface Arrival {
  readonly member: number
  readonly protocol: string
}

/** A listener whose wire protocols only note who got through. */
async function openPort(more: Partial<ConstructorParameters<typeof Listener>[0]> = {}) {
  const arrivals = new Inbox<Arrival>()
  const bytes = new Inbox<Buffer>()
  const note = (protocol: string) => (socket: TLSSocket, member: number) => {
    arrivals.add({ member, protocol })
    socket.on('data', bytes.add)
  }
  const wire = { [alpn.raft]: note('raft'), [alpn.snapshot]: note('snapshot'), [alpn.peer]: note('peer') }
  const lines = new Lines()
  const listener = new Listener({
    credentials: await credentialsOf(1),
    cluster: 'c1',
    http1: createServer((_, response) => void response.end('people')),
    http2: createHttp2Server(),
    wire,
    log: lines.log,
    ...more,
  })
  const port = await listener.listen('127.0.0.1', 0)
  later(() => listener.close())
  return { port, listener, arrivals, bytes, lines }
}

/** Connects, says something, and tells how it ended: a socket that is dropped closes, one that is taken stays. */
async function knock(port: number, options: ConnectionOptions, say = 'x'): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
  socket.on('error', () => undefined)
  later(() => void socket.destroy())
  await once(socket, 'secureConnect')
  socket.write(say)
  return socket
}

test('a member of the cluster gets through, on the protocol it asked for', async () => {
  const { port, arrivals, bytes } = await openPort()
  await knock(port, { ...(await credentialsOf(7)), ALPNProtocols: [alpn.snapshot] })
  expect(await arrivals.first()).toEqual({ member: 7, protocol: 'snapshot' })
  expect(String(await bytes.first())).toBe('x')
})

const yearAgo = new Date(Date.now() - 400 * 86_400_000)
test.each([
  ['no certificate', () => Promise.resolve({}), 'it showed no certificate'],
  [
    'a certificate of another authority',
    async () => credentialsOf(2, { ca: await createCa('lab') }),
    "not of this cluster's authority",
  ],
  ['a certificate for another cluster', () => credentialsOf(2, { cluster: 'c2' }), 'another cluster (c2)'],
  ['an expired certificate', () => credentialsOf(2, { now: yearAgo }), 'CERT_HAS_EXPIRED'],
  [
    'a certificate that is not valid yet',
    () => credentialsOf(2, { now: new Date(Date.now() + 86_400_000) }),
    'CERT_NOT_YET_VALID',
  ],
  [
    "the authority's own certificate",
    async () => {
      const { cert, key } = await theCa()
      return { ca: cert, cert, key }
    },
    '',
  ],
])('%s: dropped on every wire protocol before a byte is read', async (_, credentials, reason) => {
  const { port, arrivals, bytes, lines } = await openPort()
  const shown = await credentials()
  for (const protocol of Object.values(alpn))
    await closed(await knock(port, { ...shown, ALPNProtocols: [protocol] }))
  expect(await lines.with('refused a connection')).toContain(reason)
  expect([arrivals.all, bytes.all]).toEqual([[], []])
})

test('a removed member is dropped, however good its certificate; the peer wire tells it why', async () => {
  const { port, arrivals, lines } = await openPort({ admits: (member) => member !== 3 })
  await closed(await knock(port, { ...(await credentialsOf(3)), ALPNProtocols: [alpn.raft] }))
  await lines.with('member 3 is not in the cluster')
  await closed(await knock(port, { ...(await credentialsOf(3)), ALPNProtocols: [alpn.snapshot] }))
  expect(arrivals.all).toEqual([])
  await knock(port, { ...(await credentialsOf(3)), ALPNProtocols: [alpn.peer] })
  await arrivals.count(1)
})

test('a member may not open connections without end, and gets the place of a closed one', async () => {
  const { port, arrivals, lines } = await openPort({ maxSocketsPerMember: 2 })
  const options = { ...(await credentialsOf(3)), ALPNProtocols: [alpn.peer] }
  const [first] = [await knock(port, options), await knock(port, options)]
  await arrivals.count(2)
  await closed(await knock(port, options))
  await lines.with('member 3 has 2 connections open')
  first.destroy()
  // The server may see the end of the first a moment later: knock until it has.
  for (let tries = 0; tries < 100 && arrivals.all.length < 3; tries++) {
    const socket = await knock(port, options)
    await Promise.race([closed(socket), arrivals.count(3)])
  }
  expect(arrivals.all).toHaveLength(3)
})

test('HTTP/1.1, HTTP/2 and no ALPN at all answer on the same port, through one fastify', async () => {
  const app = fastify()
  later(() => app.close())
  app.get('/hello', (request) => ({ version: request.raw.httpVersion }))
  app.post('/echo', (request) => request.body)
  await app.ready()
  const handler = app.routing.bind(app)
  const { port } = await openPort({
    http1: createServer((request, response) => handler(request, response)),
    http2: createHttp2Server((request, response) => handler(request as never, response as never)),
  })
  const ca = (await theCa()).cert
  for (const ALPNProtocols of [['http/1.1'], []])
    expect(JSON.parse(await get1(port, '/hello', { ca, ALPNProtocols }))).toEqual({ version: '1.1' })
  expect(JSON.parse(await post2(port, '/echo', ca, { a: 1 }))).toEqual({ a: 1 })
  expect(JSON.parse(await post2(port, '/hello', ca, undefined))).toEqual({ version: '2.0' })
})

async function get1(port: number, path: string, options: ConnectionOptions): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ...options })
  await once(socket, 'secureConnect')
  const sent = httpRequest({
    createConnection: () => socket,
    path,
    headers: { host: 'lab', connection: 'close' },
  })
  sent.end()
  const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream]
  return text(response)
}

async function post2(port: number, path: string, ca: string, body: object | undefined): Promise<string> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca })
  later(() => session.destroy())
  const stream = session.request({
    ':path': path,
    ':method': body ? 'POST' : 'GET',
    ...(body ? { 'content-type': 'application/json' } : {}),
  })
  stream.end(body && JSON.stringify(body))
  const answer = await text(stream)
  expect(session.alpnProtocol).toBe('h2')
  return answer
}

test('the chain that is shown holds the CA', async () => {
  const { port } = await openPort()
  const socket = await knock(port, { ALPNProtocols: ['http/1.1'] })
  const issuer = socket.getPeerX509Certificate()?.issuerCertificate
  expect(fingerprint(String(issuer))).toBe(fingerprint((await theCa()).cert))
})

test('a renewed certificate is shown to new connections', async () => {
  const { port, listener } = await openPort()
  const renewed = await credentialsOf(1)
  listener.reload(renewed)
  const socket = await knock(port, { ALPNProtocols: ['http/1.1'] })
  expect(fingerprint(String(socket.getPeerX509Certificate()))).toBe(fingerprint(renewed.cert))
})

test('older TLS is refused', async () => {
  const { port } = await openPort()
  await expect(knock(port, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/)
})

test('who does not finish the handshake, or an HTTP head, is dropped', async () => {
  const http1 = createServer({ headersTimeout: 50, connectionsCheckingInterval: 20 })
  const { port } = await openPort({ handshakeTimeoutMs: 50, http1 })
  const silent = connectTcp(port, '127.0.0.1')
  silent.on('error', () => undefined)
  await closed(silent)
  const slow = await knock(port, { ALPNProtocols: ['http/1.1'] }, 'GET / HTTP/1.1\r\n')
  await closed(slow)
})

test('a port that is taken is an error, and close ends every connection', async () => {
  const agent = await startAgent(1)
  await expect(startAgent(2, { port: agent.port })).rejects.toThrow(/EADDRINUSE/)
  const socket = await knock(agent.port, { ALPNProtocols: ['http/1.1'] })
  await agent.listener.close()
  await closed(socket)
})
