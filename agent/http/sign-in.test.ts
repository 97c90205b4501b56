import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { base, type DirectoryServer, searcher, startDirectory } from '../../test/setup/directory.ts'
import { client, type Issuer, startIssuer, Visitor } from '../../test/setup/issuer.ts'
import { needs } from '../../test/setup/needs.ts'
import { password } from '../services/testing/world.ts'
import { serve, type Served } from './testing/served.ts'

let agent: Served
let admin: Record<string, string>
beforeAll(async () => {
  agent = await serve()
  admin = { authorization: `Bearer ${agent.world.signIn()}` }
  agent.world.addUser('ben')
})
afterAll(() => agent?.close())

const json = { 'content-type': 'application/json' }
async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = admin) {
  const answer = await agent.fetch(`/api/v2${path}`, {
    method,
    headers: { ...json, ...headers },
    redirect: 'manual',
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return {
    status: answer.status,
    answer,
    text,
    body: (text ? JSON.parse(text) : {}) as Record<string, never>,
  }
}
const connect = (name: string, settings: object, secret?: string) =>
  send('PUT', `/identity-providers/${name}`, { settings, ...(secret === undefined ? {} : { secret }) })
const signIn = (user: string, given: string) => send('POST', '/session', { user, password: given }, {})
const me = async (token: string) =>
  (await send('GET', '/me', undefined, { authorization: `Bearer ${token}` })).body

describe('identity providers', () => {
  it('are for admins, but for what the sign-in page offers', async () => {
    agent.world.addUser('carl')
    const headers = { authorization: `Bearer ${agent.world.signIn('carl')}` }
    for (const path of ['/identity-providers', '/identity-providers/lab'])
      expect((await send('GET', path, undefined, headers)).status).toBe(403)
    expect((await send('GET', '/identity-providers/public', undefined, {})).body).toEqual({ items: [] })
  })

  it.each([
    ['public', { kind: 'oidc', issuer: 'https://id.example', client_id: 'c' }, '/path/provider'],
    ['lab', { kind: 'oidc', issuer: 'http://id.example', client_id: 'c' }, '/settings/issuer'],
    ['lab', { kind: 'oidc', issuer: 'https://id.example', client_id: 'c', ca: 'no' }, '/settings/ca'],
    ['lab', { kind: 'ldap', urls: ['http://x'], user_base: 'dc=x' }, '/settings/urls/0'],
    ['lab', { kind: 'ldap', urls: ['ldap://x'], user_base: 'dc=x', user_filter: '(uid=*)' }, '/settings/user_filter'],
  ])('are refused with what would be right: %s %o', async (name, settings, pointer) => {
    const { status, body } = await connect(name, settings)
    expect(status).toBe(400)
    expect(body).toMatchObject({ errors: [{ pointer }] })
  }) // prettier-ignore
})

describe('sign-in by a directory', needs.slapd, () => {
  let server: DirectoryServer
  const settings = () => ({
    kind: 'ldap', urls: ['ldap://127.0.0.1:1', server.ldap], ca: server.ca, bind_dn: searcher.dn, nested: true,
    user_base: `ou=people,${base}`, group_base: `ou=groups,${base}`, admin_groups: ['admins'],
  }) // prettier-ignore
  beforeAll(async () => {
    server = await startDirectory()
    expect((await connect('lab', settings(), searcher.password)).status).toBe(200)
    agent.world.addTeam('vision')
    agent.world.log.propose(
      { type: 'team.put', name: 'vision', change: { groups: ['ml'] } },
      { kind: 'system' },
    )
  })
  afterAll(async () => {
    await send('DELETE', '/identity-providers/lab')
    await server?.stop()
  })

  it('never answers its secret', async () => {
    const { body, text } = await send('GET', '/identity-providers/lab')
    expect(body).toMatchObject({ name: 'lab', secret: true })
    expect(text).not.toContain(searcher.password)
    expect(agent.logged.join('')).not.toContain(searcher.password)
  })

  it('uses the normal form; groups make teams and admins; a server that is down is passed over', async () => {
    const { status, body } = await signIn('ana', "ana's password")
    expect(status).toBe(201)
    expect(body).toMatchObject({ user: 'ana', rank: 'admin' })
    expect(await me(body['token'] ?? '')).toMatchObject({
      source: 'lab',
      display_name: 'Ana Müller',
      teams: [{ team: 'vision', rank: 'member' }],
    })
  })

  it('refuses wrong and empty passwords as it refuses those of nobody', async () => {
    for (const [user, given] of [['ana', 'wrong'], ['ana', ''], ['nobody', 'x'], ['*', "ana's password"]] as const) {
      const { status, body } = await signIn(user, given)
      expect([user, given, status, body['code'] ?? '']).toEqual([user, given, 401, 'bad_credentials'])
    }
  }) // prettier-ignore

  it('leaves accounts alone whose password is kept here', async () => {
    expect((await signIn('ben', "ben's password")).status).toBe(401)
    expect((await signIn('Ben', "ben's password")).body).toMatchObject({ code: 'conflict' })
    expect((await signIn('ben', 'ben')).body).toMatchObject({ user: 'ben' })
    expect((await signIn('admin', password)).status).toBe(201)
  })

  it('ends with the account here, and with the directory', async () => {
    const token = (await signIn('chris', "chris's password")).body['token'] ?? ''
    expect((await send('PATCH', '/users/chris', { disabled: true })).status).toBe(200)
    expect(await me(token)).toMatchObject({ code: 'unauthenticated' })
    expect((await signIn('chris', "chris's password")).body).toMatchObject({ code: 'forbidden' })
  })

  it('tells that no server answers, and that a wrong account of our own is not the person’s fault', async () => {
    await connect('lab', { ...settings(), urls: ['ldap://127.0.0.1:1'] })
    expect((await signIn('ana', "ana's password")).body).toMatchObject({ code: 'provider_unreachable' })
    await connect('lab', settings(), 'wrong')
    expect((await signIn('ana', "ana's password")).body).toMatchObject({ code: 'provider_failed' })
    const { body } = await send('POST', '/identity-providers/lab/check', {})
    expect(body).toMatchObject({ ok: false, steps: [{ ok: false }, { ok: false, what: server.ldap }] })
    await connect('lab', settings(), searcher.password)
  })

  it('is checked step by step, up to whom somebody would be', async () => {
    await connect('lab', { ...settings(), urls: [server.ldap] })
    const asked = { user: 'ana', password: "ana's password" }
    const { body, text } = await send('POST', '/identity-providers/lab/check', asked)
    expect(body).toMatchObject({ ok: true, person: { name: 'ana', teams: ['vision'], rank: 'admin' } })
    expect(text).not.toContain(searcher.password)
    expect(
      (await send('POST', '/identity-providers/lab/check', { ...asked, password: 'x' })).body,
    ).toMatchObject({
      ok: false,
    })
  })
})

describe('sign-in by OpenID Connect', () => {
  let issuer: Issuer
  const callback = () => `${agent.origin}/api/v2/sign-in/campus/callback`
  beforeAll(async () => {
    issuer = await startIssuer({
      people: {
        dana: { preferred_username: 'dana', name: 'Dana', groups: ['ml'] },
        ben: { preferred_username: 'ben' },
      },
      redirectUris: [callback()],
      afterSignOut: [`${agent.origin}/`],
    })
    const settings = {
      kind: 'oidc', issuer: issuer.url, client_id: client.id, title: 'Campus',
      scopes: ['openid', 'profile', 'email', 'groups'],
    } // prettier-ignore
    expect((await connect('campus', settings, client.secret)).status).toBe(200)
  })
  afterAll(() => issuer?.stop())
  let cookie: string
  beforeEach(() => (cookie = ''))

  const get = async (path: string) => {
    const answer = await agent.fetch(path, { redirect: 'manual', headers: cookie ? { cookie } : {} })
    return { status: answer.status, location: answer.headers.get('location') ?? '', cookies: answer.headers.getSetCookie() }
  } // prettier-ignore
  const valueOf = (cookies: readonly string[], name: string) =>
    cookies.find((one) => one.startsWith(`${name}=`))?.split(';')[0]?.slice(name.length + 1) ?? '' // prettier-ignore
  /** From the button to where the provider sends the browser back. */
  async function come(login: string): Promise<string> {
    const begun = await get('/api/v2/sign-in/campus')
    expect(begun.status).toBe(302)
    cookie = `submarine_sign_in=${valueOf(begun.cookies, 'submarine_sign_in')}`
    expect(begun.cookies[0]).toMatch(/; Path=\/api\/v2\/sign-in; HttpOnly; SameSite=Lax; Max-Age=600$/)
    const back = await new Visitor(login).walk(begun.location, callback())
    return back.pathname + back.search
  }
  const problemIn = (cookies: readonly string[]) =>
    JSON.parse(decodeURIComponent(valueOf(cookies, 'submarine_sign_in_problem'))) as { code: string }

  it('is offered to everybody by name alone', async () => {
    const { body, text } = await send('GET', '/identity-providers/public', undefined, {})
    expect(body).toEqual({ items: [{ name: 'campus', kind: 'oidc', title: 'Campus' }] })
    expect(text).not.toContain(issuer.url)
  })

  it('gives the cookie of a sign-in to the browser that began, and no token to any address or log', async () => {
    const { status, location, cookies } = await get(await come('dana'))
    expect([status, location]).toEqual([302, '/'])
    expect(cookies.find((one) => one.startsWith('submarine_session='))).toMatch(/HttpOnly; SameSite=Strict/)
    const token = valueOf(cookies, 'submarine_session')
    expect(await me(token)).toMatchObject({ name: 'dana', source: 'campus', teams: [{ team: 'vision' }] })
    expect(valueOf(cookies, 'submarine_sign_in')).toBe('')
    expect(agent.logged.join('')).not.toMatch(/[?&]code=/)
    expect(agent.logged.join('')).not.toContain(token)
  })

  it('does not take an answer that another browser asked for, nor one a second time', async () => {
    const stolen = await come('dana')
    const [own] = [cookie, (cookie = '')]
    expect(problemIn((await get(stolen)).cookies)).toMatchObject({ code: 'bad_credentials' })
    await come('dana')
    expect(problemIn((await get(stolen)).cookies)).toMatchObject({ code: 'provider_failed' })
    cookie = own
    expect((await get(stolen)).location).toBe('/')
    expect(problemIn((await get(stolen)).cookies).code).toMatch(/^provider_failed$/)
  })

  it('takes no longer than some minutes', async () => {
    const back = await come('dana')
    agent.world.now += 11 * 60_000
    expect(problemIn((await get(back)).cookies)).toMatchObject({ code: 'bad_credentials' })
  })

  it('never gives somebody the account of a namesake', async () => {
    const { cookies, location } = await get(await come('ben'))
    expect(location).toBe('/')
    expect(problemIn(cookies)).toMatchObject({ code: 'conflict' })
    expect(valueOf(cookies, 'submarine_session')).toBe('')
  })

  it('is begun anew by itself, once, when the provider has changed its keys', async () => {
    await get(await come('dana'))
    issuer.rotate()
    const back = await come('dana')
    const again = await get(back)
    expect(again.location).toContain(`${issuer.url}/auth`)
    cookie = `submarine_sign_in=${valueOf(again.cookies, 'submarine_sign_in')}`
    const { pathname, search } = await new Visitor('dana').walk(again.location, callback())
    expect(valueOf((await get(pathname + search)).cookies, 'submarine_session')).not.toBe('')
  })

  it('ends at the provider too, and nowhere for strangers', async () => {
    expect((await get('/api/v2/sign-in/campus/end')).location).toContain(`${issuer.url}/session/end?`)
    expect((await get('/api/v2/sign-in/none/end')).location).toBe('/')
    expect(problemIn((await get('/api/v2/sign-in/none')).cookies)).toMatchObject({ code: 'not_found' })
  })

  it('signs a program in by another browser', async () => {
    const { body, status } = await send('POST', '/sign-in/campus/device', undefined, {})
    expect(status).toBe(201)
    const poll = (handle: string) => send('POST', '/sign-in/campus/device/poll', { handle }, {})
    const handle = String(body['handle'])
    expect((await poll(handle)).body).toMatchObject({ signed_in: null })
    expect((await poll('junk')).body).toMatchObject({ code: 'bad_credentials' })
    await new Visitor('dana').walk(String(body['verification_uri_complete']), 'never').catch(() => undefined)
    expect((await poll(handle)).body).toMatchObject({ signed_in: { user: 'dana' } })
    expect((await poll(handle)).status).toBeGreaterThanOrEqual(400)
  })

  it('says which address the provider has to know, and what of it answers', async () => {
    const { body } = await send('POST', '/identity-providers/campus/check', {})
    expect(body).toMatchObject({ ok: true, person: null, redirect_uris: expect.arrayContaining([callback()]) as object })
    await issuer.stop()
    expect((await send('POST', '/identity-providers/campus/check', {})).body).toMatchObject({ ok: false })
    expect(problemIn((await get('/api/v2/sign-in/campus')).cookies)).toMatchObject({ code: 'provider_unreachable' })
  }) // prettier-ignore
})
