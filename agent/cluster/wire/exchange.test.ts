import { once } from 'node:events'
import { Agent, createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterEach, expect, test } from 'vitest'
import type { PeerRequest } from '../cluster.ts'
import { exchange } from './exchange.ts'
import { cleanUp, later } from './testing/agent.ts'

afterEach(cleanUp)

/** A server that answers the first request of each connection and resets the connection on the second. */
async function forgetful() {
  const requests: string[] = []
  const seen = new WeakSet<Socket>()
  const server = createServer((request, response) => {
    requests.push(`${request.method}`)
    if (seen.has(request.socket)) return void request.socket.resetAndDestroy()
    seen.add(request.socket)
    response.end('answer')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const agent = new (class extends Agent {
    override createConnection = () => connect(port, '127.0.0.1')
  })({ keepAlive: true })
  later(() => {
    agent.destroy()
    server.closeAllConnections()
    server.close()
  })
  const ask = async (request: Pick<PeerRequest, 'method' | 'body'>) =>
    text((await exchange(agent, 'host', 'node-2', { path: '/', ...request })).body)
  return { ask, requests }
}

test.each([{ method: 'GET' }, { method: 'DELETE' }, { method: 'PUT', body: 'all of it' }] as const)(
  'on a kept connection that ends as it is used again, $method is sent once more',
  async (request) => {
    const { ask, requests } = await forgetful()
    expect([await ask(request), await ask(request)]).toEqual(['answer', 'answer'])
    expect(requests).toHaveLength(3)
  },
)

test.each([
  ['a POST', () => ({ method: 'POST', body: 'add one' }) as const],
  ['a stream that cannot be read again', () => ({ method: 'PUT', body: Readable.from(['x']) }) as const],
])('%s is not: it may have been done', async (_, request) => {
  const { ask, requests } = await forgetful()
  await ask(request())
  await expect(ask(request())).rejects.toMatchObject({ code: 'node_unreachable' })
  expect(requests).toHaveLength(2)
})
