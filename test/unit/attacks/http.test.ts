import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkAddress } from '../../../agent/http/address.ts'
import { disposition } from '../../../agent/http/files.ts'
import { serve, type Served } from '../../../agent/http/testing/served.ts'
import { routes } from '../../../contract/routes.ts'

let served: Served
let token: string
beforeAll(async () => {
  served = await serve()
  token = served.world.signIn()
})
afterAll(() => served.close())

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: Readonly<Record<string, unknown>>
}

/** Raw: `fetch` would set Origin and Sec-Fetch headers by itself. */
function send(method: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  const { port } = new URL(served.origin)
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ port, host: '127.0.0.1', method, path, headers }, (response) => {
      let text = ''
      response.on('data', (part: Buffer) => (text += part.toString()))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }))
    })
    sent.on('error', reject)
    sent.on('upgrade', () => reject(new Error('the agent took an upgrade')))
    // Without a length a body of these would run into the next request.
    sent.end(method === 'DELETE' ? undefined : body)
  })
} // prettier-ignore

const codeOf = ({ text }: Answer): string => (JSON.parse(text) as { code: string }).code
const cookie = () => ({ cookie: `submarine_session=${token}` })
const bearer = () => ({ authorization: `Bearer ${token}` })

describe('attack: a token in an address', () => {
  it.each(['token', 'access_token', 'TOKEN', '%74oken', 'api_key', 'password'])('%s is refused, with what to do', async (name) => {
    const answer = await send('GET', `/api/v2/me?${name}=${token}`)
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'invalid_request', hint: expect.stringContaining('Authorization: Bearer') })
    expect(answer.text).not.toContain(token)
  }) // prettier-ignore
  it('is never logged, whatever it is called and wherever it stands', async () => {
    const before = served.logged.length
    await send('GET', `/api/v2/me?token=${token}`)
    await send('GET', `/api/v2/me?x=${token}`, bearer())
    await send('DELETE', `/api/v2/tokens/${token}`, bearer())
    await send('GET', `/api/v2/watch?access_token=${token}`)
    await send('GET', `/nothing/${token}?authorization=${token}`)
    const lines = served.logged.slice(before).join('')
    expect(lines).toContain('/api/v2/me')
    expect(lines).not.toContain(token)
  })
  it('does not stop a list from being read page by page', () => {
    expect(() => checkAddress('/api/v2/nodes?page_token=abc&page_size=3')).not.toThrow()
  })
})

describe('attack: a request that another site makes its visitor send', () => {
  const changing = Object.values(routes).filter(({ method }) => method !== 'GET')
  const pathOf = (path: string) => `/api/v2${path.replaceAll(/\{\w+\*?\}/g, 'x')}`

  it.each(changing.map(({ method, path }) => [method, path] as const))('%s %s', async (method, path) => {
    const from = { ...cookie(), origin: 'https://evil.example' }
    // What a form can send without being asked first.
    for (const type of ['text/plain', 'multipart/form-data; boundary=x', 'application/x-www-form-urlencoded']) {
      const answer = await send(method, pathOf(path), { ...from, 'content-type': type }, '{"a":"=b"}')
      expect([type, answer.status, codeOf(answer)]).toEqual([type, 403, 'foreign_origin'])
    }
    const silent = await send(method, pathOf(path), { ...cookie(), 'content-type': 'application/json' }, '{}')
    expect(codeOf(silent)).toBe('foreign_origin')
  }) // prettier-ignore

  it('opens no stream, and no connection of another kind', async () => {
    const origin = 'https://evil.example'
    const socket = { upgrade: 'websocket', connection: 'upgrade', 'sec-websocket-key': 'x', 'sec-websocket-version': '13' } // prettier-ignore
    const foreign: Record<string, string>[] = [{ origin }, { origin, ...socket }, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }, { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }] // prettier-ignore
    for (const headers of foreign) {
      const answer = await send('GET', '/api/v2/watch?kinds=node', { ...cookie(), ...headers })
      expect([headers, answer.status]).toEqual([headers, 403])
    }
    expect((await send('GET', '/metrics', { ...cookie(), origin })).status).toBe(403)
  })
  it('reads nothing: no answer allows it, and no answer to a question before it', async () => {
    const headers = { origin: 'https://evil.example', 'access-control-request-method': 'DELETE' }
    for (const method of ['OPTIONS', 'GET', 'POST'])
      expect((await send(method, '/api/v2/me', headers)).headers).not.toHaveProperty('access-control-allow-origin') // prettier-ignore
  })
  it('may follow a link, and is then on a page of ours', async () => {
    const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
    expect((await send('GET', '/', link)).status).toBe(200)
    expect((await send('GET', '/api/v2/ca.pem', link)).status).toBe(200)
  })
})

describe('attack: our pages in a frame of another site', () => {
  it.each(['/', '/experiments', '/api/v2/version', '/api/v2/nothing', '/livez', '/demo.json'])('%s refuses', async (path) => {
    const { headers } = await send('GET', path)
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(headers['x-content-type-options']).toBe('nosniff')
  }) // prettier-ignore
})

describe('attack: line ends in what reaches headers, logs and the audit', () => {
  const broken = ['a\r\nset-cookie: x=1', 'a\nb', 'a\rb', 'a\u0000b', 'a\u007fb', '\u001b[2J']

  it.each(broken)('%j names nothing', async (name) => {
    const names = [`/api/v2/users/${encodeURIComponent(name)}`, `/api/v2/nodes/${encodeURIComponent(name)}`, `/api/v2/experiments/e/tasks/t/artifacts/${encodeURIComponent(name)}`] // prettier-ignore
    for (const path of names) {
      const answer = await send('GET', path, bearer())
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expect(answer.status).toBeLessThan(500)
      expect(answer.headers).not.toHaveProperty('set-cookie')
    }
    const json = { ...bearer(), 'content-type': 'application/json' }
    const bodies = [['/api/v2/users', { name }], ['/api/v2/tokens', { name }], ['/api/v2/experiments', { name, command: 'true' }], ['/api/v2/images/pull', { image: name }]] as const // prettier-ignore
    for (const [path, body] of bodies) {
      const answer = await send('POST', path, json, JSON.stringify(body))
      expect([path, answer.status]).toEqual([path, path === '/api/v2/images/pull' ? expect.any(Number) : 400])
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expect(answer.status).toBeLessThan(500)
    }
    expect(disposition(name)).toMatch(/^[\x20-\x7e]*$/)
  })
  it('every line of the log is one object of JSON', async () => {
    await send('GET', `/api/v2/experiments/${encodeURIComponent('x\r\n{"level":"error"}')}`, bearer())
    await send('POST', '/api/v2/session', { 'content-type': 'application/json' }, JSON.stringify({ user: 'a\n{"level":"fatal"}', password: 'x' })) // prettier-ignore
    for (const line of served.logged.join('').trimEnd().split('\n'))
      expect(JSON.parse(line)).toHaveProperty('level')
  })
})

describe('attack: a way out of a folder in an address', () => {
  const paths = ['../../etc/passwd', '..%2f..%2fetc%2fpasswd', '%2e%2e/%2e%2e/etc/passwd', '/etc/passwd', 'a/../../b', 'a//b', '..\\..\\b', 'C:\\windows', 'a/./b', 'a%00b'] // prettier-ignore

  it.each(paths)('%s is no artifact', async (path) => {
    const { status } = await send('GET', `/api/v2/experiments/e/tasks/t/artifacts/${path}`, bearer())
    expect([400, 404]).toContain(status)
  })
  it.each(paths)('%s is no page', async (path) => {
    const { text } = await send('GET', `/assets/${path}`)
    expect(text).not.toContain('root:')
  })
  it('a sign-in ends at our own page, wherever the address would lead', async () => {
    for (const query of ['?return_to=https://evil.example', '?next=//evil.example', '?redirect_uri=https://evil.example']) {
      const answer = await send('GET', `/api/v2/sign-in/none${query}`)
      expect(answer.headers['location'] ?? '/').toBe('/')
    }
    expect((await send('GET', '//evil.example/%2e%2e')).headers).not.toHaveProperty('location')
  }) // prettier-ignore
})
