import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OidcSettings, ProblemError } from '../../../contract/index.ts'
import { client, type Issuer, startIssuer, Visitor } from '../../../test/setup/issuer.ts'
import { type Checks, type OidcAccess, OidcClients } from './oidc.ts'

const callback = 'http://127.0.0.1:9/api/v2/sign-in/campus/callback'
const people = {
  ana: { preferred_username: 'ana', name: 'Ana Müller', email: 'ana@lab.example', groups: ['ml', 'staff'] },
  ben: { preferred_username: 'ben', groups: 'ml' },
  nameless: { name: 'Nobody' },
  domain: { preferred_username: 'carl@elsewhere.example' },
}

function access(
  issuer: string,
  more: Record<string, unknown> = {},
  secret: string | null = client.secret,
): OidcAccess {
  const settings = OidcSettings.parse({
    kind: 'oidc',
    issuer,
    client_id: client.id,
    scopes: ['openid', 'profile', 'email', 'groups'],
    ...more,
  })
  return { name: 'campus', version: 1, settings, secret }
}

async function problemOf(work: Promise<unknown>): Promise<ProblemError> {
  const thrown = await work.then(
    (value) => `no problem, but ${JSON.stringify(value)}`,
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(ProblemError)
  return thrown as ProblemError
}

describe.each([
  ['asked for', false],
  ['in the signed token', true],
])('a provider whose claims are %s', (_where, inToken) => {
  let issuer: Issuer
  let clients: OidcClients
  beforeAll(async () => {
    issuer = await startIssuer({ people, redirectUris: [callback], inToken })
    clients = new OidcClients(() => 0)
  })
  afterAll(() => issuer?.stop())

  /** A sign-in up to where the browser comes back. */
  async function comeBack(login: string, change: (url: URL) => void = () => undefined) {
    const { url, checks } = await clients.begin(access(issuer.url), callback)
    change(url)
    return { returned: await new Visitor(login).walk(url.href, callback), checks }
  }
  const finish = (returned: URL, checks: Checks) => clients.finish(access(issuer.url), returned, checks)

  it('says who somebody is', async () => {
    const ana = await comeBack('ana')
    expect(await finish(ana.returned, ana.checks)).toEqual({
      id: 'ana',
      name: 'ana',
      display_name: 'Ana Müller',
      email: 'ana@lab.example',
      groups: ['ml', 'staff'],
    })
    expect(issuer.asked.includes('GET /me')).toBe(!inToken)
    const ben = await comeBack('ben')
    expect(await finish(ben.returned, ben.checks)).toEqual({ id: 'ben', name: 'ben', groups: ['ml'] })
  })

  it('sends the browser with a challenge, a state and a nonce, and no two alike', async () => {
    const [one, two] = await Promise.all([1, 2].map(() => clients.begin(access(issuer.url), callback)))
    for (const name of ['state', 'nonce', 'code_challenge']) {
      const [a, b] = [one, two].map((begun) => begun?.url.searchParams.get(name) ?? '')
      expect(a?.length).toBeGreaterThan(40)
      expect(a).not.toBe(b)
    }
    expect(one?.url.searchParams.get('code_challenge_method')).toBe('S256')
    expect(one?.url.href).not.toContain(one?.checks.verifier)
  })

  it('is not believed with another nonce, state or verifier, nor a second time', async () => {
    const nonce = await comeBack('ana', (url) => url.searchParams.set('nonce', 'another'))
    expect((await problemOf(finish(nonce.returned, nonce.checks))).message).toMatch(/nonce/)
    const state = await comeBack('ana')
    expect((await problemOf(finish(state.returned, { ...state.checks, state: 'x' }))).message).toMatch(
      /state/,
    )
    const other = await clients.begin(access(issuer.url), callback)
    const verifier = { ...state.checks, verifier: other.checks.verifier }
    expect((await problemOf(finish(state.returned, verifier))).message).toMatch(/invalid_grant/)
    const twice = await comeBack('ana')
    await finish(twice.returned, twice.checks)
    expect((await problemOf(finish(twice.returned, twice.checks))).message).toMatch(/invalid_grant/)
  })

  it('has no name for somebody, or one of a foreign domain', async () => {
    const none = await comeBack('nameless')
    expect((await problemOf(finish(none.returned, none.checks))).message).toBe(
      'the identity provider sends no preferred_username',
    )
    const foreign = await comeBack('domain')
    expect((await problemOf(finish(foreign.returned, foreign.checks))).message).toContain('with a domain')
  })

  it('changes its keys: one sign-in is begun anew, and holds', async () => {
    const before = await comeBack('ana')
    await finish(before.returned, before.checks)
    issuer.rotate()
    const after = await comeBack('ana')
    const unknown = await problemOf(finish(after.returned, after.checks))
    expect([unknown.constructor.name, unknown.code]).toEqual(['KeyUnknown', 'provider_failed'])
    const again = await comeBack('ana')
    expect((await finish(again.returned, again.checks)).name).toBe('ana')
  })

  it('lets somebody without a browser sign in by another one', async () => {
    const begun = await clients.beginDevice(access(issuer.url))
    expect(await clients.pollDevice(access(issuer.url), begun.device_code)).toBe('pending')
    const visitor = new Visitor('ben')
    await visitor.walk(begun.verification_uri_complete ?? '', 'no:where').catch(() => undefined)
    expect(await clients.pollDevice(access(issuer.url), begun.device_code)).toMatchObject({ name: 'ben' })
    const twice = await problemOf(clients.pollDevice(access(issuer.url), begun.device_code))
    expect(twice.message).toMatch(/invalid_grant/)
  })

  it('ends its own sign-in, too', async () => {
    const url = await clients.end(access(issuer.url), 'http://127.0.0.1:9/')
    expect(url?.href.startsWith(`${issuer.url}/session/end?`)).toBe(true)
    expect(url?.searchParams.get('post_logout_redirect_uri')).toBe('http://127.0.0.1:9/')
  })

  it('refuses a wrong secret and an unknown address, in words', async () => {
    const { returned, checks } = await comeBack('ana')
    const stranger = new OidcClients(() => 0)
    const wrong = await problemOf(stranger.finish(access(issuer.url, {}, 'wrong'), returned, checks))
    expect([wrong.code, wrong.message]).toEqual([
      'provider_failed',
      'the identity provider does not take the client id or its secret',
    ])
    const down = await problemOf(stranger.begin({ ...access('http://127.0.0.1:33'), name: 'down' }, callback))
    expect([down.code, String(down.cause)]).toEqual([
      'provider_unreachable',
      expect.stringContaining('ECONNREFUSED'),
    ])
    const elsewhere = { ...access(`${issuer.url}/elsewhere`), name: 'elsewhere' }
    expect((await problemOf(stranger.begin(elsewhere, callback))).code).toBe('provider_failed')
  })
})

describe('a provider that lies', () => {
  const good = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const evil = generateKeyPairSync('rsa', { modulusLength: 2048 })
  let token: (nonce: string) => string
  let url: string
  let close: () => void

  beforeAll(async () => {
    const jwk = { ...good.publicKey.export({ format: 'jwk' }), kid: 'good', alg: 'RS256', use: 'sig' }
    const server = createServer((request, response) => {
      const answers: Record<string, unknown> = {
        '/.well-known/openid-configuration': {
          issuer: url, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token`, jwks_uri: `${url}/keys`,
        },
        '/keys': { keys: [jwk] },
        '/token': { access_token: 'a', token_type: 'Bearer', id_token: token('n') },
      } // prettier-ignore
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(answers[request.url ?? ''] ?? {}))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}`
    close = () => void server.close()
  })
  afterAll(() => close?.())

  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  function signed(claims: object, key: KeyObject = good.privateKey, header: object = {}): string {
    const now = Math.floor(Date.now() / 1000)
    const all = { iss: url, sub: 'ana', aud: client.id, iat: now, exp: now + 60, nonce: 'n', preferred_username: 'ana', groups: [], name: 'A', email: 'a@b', ...claims } // prettier-ignore
    const text = `${encode({ alg: 'RS256', kid: 'good', ...header })}.${encode(all)}`
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`
  }
  const exchange = () =>
    new OidcClients(() => 0).finish(access(url), new URL(`${callback}?code=c&state=s`), {
      state: 's',
      nonce: 'n',
      verifier: 'v'.repeat(43),
    })

  it('is believed when it does not', async () => {
    token = () => signed({})
    expect((await exchange()).name).toBe('ana')
  })

  it.each([
    ['a token that has expired', () => signed({ iat: 1_000_000, exp: 1_000_060 })],
    ['a token of another sign-in', () => signed({ nonce: 'another' })],
    ['a token without a nonce', () => signed({ nonce: undefined })],
    ['a token for another program', () => signed({ aud: 'another' })],
    ['a token of another issuer', () => signed({ iss: 'https://evil.example' })],
    ['a token that it did not sign', () => signed({}, evil.privateKey)],
    ['a token by a key that it does not show', () => signed({}, evil.privateKey, { kid: 'evil' })],
    ['a token that nobody signed', () => `${encode({ alg: 'none' })}.${signed({}).split('.')[1]}.`],
    ['no token', () => undefined as unknown as string],
  ])('is not believed about %s', async (_what, made) => {
    token = made
    expect((await problemOf(exchange())).code).toBe('provider_failed')
  })
})
