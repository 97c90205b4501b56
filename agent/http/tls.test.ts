import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect as connectHttp2, createSecureServer } from 'node:http2'
import { request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCa } from '../cluster/identity/ca.ts'
import { createServices, type Services } from '../services/index.ts'
import { password, World } from '../services/testing/world.ts'
import { createLog } from './log.ts'
import { createHttp } from './server.ts'

let world: World
let services: Services
let port: number
let close: () => void
const logged: string[] = []
beforeAll(async () => {
  world = await World.create(1)
  services = createServices(world.deps())
  const log = createLog('warn', { write: (line) => logged.push(line) })
  const http = await createHttp({ services, log, hosts: [], consoleFolder: '/nonexistent' })
  const server = createSecureServer({ ...(await createCa('tls')), allowHTTP1: true }, http.handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
  close = () => server.close()
})
afterAll(async () => {
  services.close()
  close()
  await world.close()
})

const body = JSON.stringify({ user: 'admin', password })
const rejectUnauthorized = false

/** Sign in over TLS from `origin`; the status and the cookie. */
async function signIn1(origin: string): Promise<[number, string]> {
  const headers = { 'content-type': 'application/json', origin }
  const sent = httpsRequest({ host: '127.0.0.1', port, path: '/api/v2/session', method: 'POST', headers, rejectUnauthorized }) // prettier-ignore
  sent.end(body)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  response.resume()
  return [response.statusCode ?? 0, response.headers['set-cookie']?.[0] ?? '']
}
async function signIn2(origin: string): Promise<[number, string]> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized })
  const stream = session.request({ ':path': '/api/v2/session', ':method': 'POST', 'content-type': 'application/json', origin }) // prettier-ignore
  stream.end(body)
  const [headers] = (await once(stream, 'response')) as [Record<string, string[] | string>]
  session.close()
  return [Number(headers[':status']), String(headers['set-cookie']?.[0] ?? '')]
}

describe.each([
  ['HTTP/1.1', signIn1],
  ['HTTP/2', signIn2],
])('over TLS by %s', (_protocol, signIn) => {
  it('the console’s origin is https, and its cookie travels nowhere else', async () => {
    const [status, cookie] = await signIn(`https://127.0.0.1:${port}`)
    expect(status).toBe(201)
    expect(cookie).toMatch(/^submarine_session=.*; HttpOnly; SameSite=Strict; Expires=.*; Secure$/)
  })
  it('the same host in plain HTTP is another origin', async () => {
    expect((await signIn(`http://127.0.0.1:${port}`))[0]).toBe(403)
  })
})

it('a client that leaves in the midst of a stream is forgotten, and nothing is logged as failed', async () => {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized })
  const stream = session.request({ ':path': '/api/v2/watch', authorization: `Bearer ${world.signIn()}` })
  stream.on('error', () => undefined)
  await once(stream, 'data')
  session.destroy()
  for (let at = 0; at < 50; at++) {
    world.submit(`exp-${at}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(logged).toEqual([])
})
