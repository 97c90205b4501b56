import { request as httpRequest } from 'node:http'
import { hostname } from 'node:os'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Problem } from '../../contract/index.ts'
import { serve, type Served } from './testing/served.ts'

let served: Served
let port: string
let token: string
beforeAll(async () => {
  served = await serve()
  port = new URL(served.origin).port
  token = served.world.signIn()
})
afterAll(() => served.close())

/** Raw, because `fetch` sets Host and Origin itself. */
function send(
  method: string,
  headers: Record<string, string>,
  path = '/api/v2/join-tokens',
): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ port, host: '127.0.0.1', method, path, headers, setHost: !('host' in headers) }, (response) => {
      let text = ''
      response.on('data', (part: Buffer) => (text += part.toString()))
      response.on('end', () => {
        const failed = (response.statusCode ?? 0) >= 400
        resolve(failed ? Problem.parse(JSON.parse(text)).code : String(response.statusCode))
      })
    }) // prettier-ignore
    sent.on('error', reject)
    sent.end()
  })
}
const at = (host: string) => send('GET', { host }, '/api/v2/version')

describe('the Host a request names', () => {
  it.each([
    '127.0.0.1:PORT',
    'localhost:PORT',
    'LOCALHOST:PORT',
    'localhost.:PORT',
    '127.0.0.2:PORT',
    '[::1]:PORT',
  ])('%s is this machine', async (host) => expect(await at(host.replace('PORT', port))).toBe('200'))
  it('may be this machine’s name', async () => expect(await at(`${hostname()}:${port}`)).toBe('200'))
  it.each(['lab.example:7460', 'Lab.Example:7460', '10.0.0.1:7460', '10.0.0.3:7460'])(
    '%s was advertised, or is a node’s address',
    async (host) => expect(await at(host)).toBe('200'),
  )
  it.each([
    'evil.example', 'evil.example:PORT', 'localhost.evil.example:PORT', '127.0.0.1.evil.example:PORT', 'localhost',
    'localhost:1', '10.0.0.1', '10.0.0.1:7461', '10.0.0.9:7460', 'lab.example', 'lab.example:80', '0.0.0.0:PORT',
    'user@localhost:PORT', 'localhost:PORT,evil.example', '',
  ])('%j is refused', async (host) => expect(await at(host.replace('PORT', port))).toBe('foreign_host')) // prettier-ignore

  it('is checked for the console’s pages too', async () =>
    expect(await send('GET', { host: `evil.example:${port}` }, '/')).toBe('foreign_host'))
})

describe('what changes something', () => {
  const bearer = () => ({ authorization: `Bearer ${token}` })
  const cookie = () => ({ cookie: `submarine_session=${token}` })
  const own = () => `http://127.0.0.1:${port}`

  it('is done for programs with a token, which say no origin', async () => {
    expect(await send('POST', bearer())).toBe('201')
  })
  it('is done for the console in its own origin', async () => {
    expect(await send('POST', { ...cookie(), origin: own() })).toBe('201')
    expect(await send('POST', { ...cookie(), 'sec-fetch-site': 'same-origin' })).toBe('201')
    expect(await send('POST', { ...cookie(), origin: own(), 'sec-fetch-site': 'same-origin' })).toBe('201')
  })
  it.each([
    'http://evil.example',
    'null',
    'https://127.0.0.1:PORT',
    'http://127.0.0.1',
    'http://127.0.0.1:1',
    'http://localhost:PORT',
    'http://127.0.0.1:PORT.evil.example',
    'http://127.0.0.1:PORT/',
    '',
  ])('is refused for the origin %j, token or cookie', async (given) => {
    const origin = given.replace('PORT', port)
    expect(await send('POST', { ...bearer(), origin })).toBe('foreign_origin')
    expect(await send('POST', { ...cookie(), origin })).toBe('foreign_origin')
  })
  it('is refused with a cookie that comes without an origin', async () => {
    expect(await send('POST', cookie())).toBe('foreign_origin')
    expect(await send('POST', { ...cookie(), 'sec-fetch-site': 'none' })).toBe('foreign_origin')
  })
  it.each(['cross-site', 'same-site'])('is refused when the browser calls it %s', async (site) => {
    expect(await send('POST', { ...cookie(), origin: own(), 'sec-fetch-site': site })).toBe('foreign_origin')
    expect(await send('POST', { ...bearer(), 'sec-fetch-site': site })).toBe('foreign_origin')
  })
  it('is refused before sign-in too', async () => {
    expect(await send('POST', { origin: 'http://evil.example' }, '/api/v2/session')).toBe('foreign_origin')
  })
  it('is not reading', async () => {
    expect(await send('GET', cookie(), '/api/v2/me')).toBe('200')
  })
})
