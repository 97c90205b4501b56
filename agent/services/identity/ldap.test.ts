import { createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LdapSettings, ProblemError } from '../../../contract/index.ts'
import { base, type DirectoryServer, searcher, startDirectory } from '../../../test/setup/directory.ts'
import { needs } from '../../../test/setup/needs.ts'
import { createCa } from '../../cluster/identity/ca.ts'
import { checkPassword, lookUp } from './ldap.ts'
import type { LdapAccess } from './ldap-connection.ts'

const people = `ou=people,${base}`
const groups = `ou=groups,${base}`

describe('a directory', needs.slapd, () => {
  let server: DirectoryServer
  beforeAll(async () => (server = await startDirectory()))
  afterAll(() => server?.stop())

  function access(more: Record<string, unknown> = {}, secret: string | null = searcher.password): LdapAccess {
    const settings = LdapSettings.parse({
      kind: 'ldap',
      urls: [server.ldap],
      ca: server.ca,
      bind_dn: searcher.dn,
      user_base: people,
      group_base: groups,
      domains: ['lab.example'],
      ...more,
    })
    return { settings, secret }
  }
  const problem = async (work: Promise<unknown>) => {
    const thrown = await work.then(
      (value) => `no problem, but ${JSON.stringify(value)}`,
      (error: unknown) => error,
    )
    expect(thrown).toBeInstanceOf(ProblemError)
    return thrown as ProblemError
  }

  it.each(['ldap', 'ldaps'] as const)('says by %s who somebody is', async (kind) => {
    const person = await checkPassword(access({ urls: [server[kind]] }), 'ana', "ana's password")
    expect(person).toMatchObject({ name: 'ana', display_name: 'Ana Müller', email: 'ana@lab.example' })
    expect(person?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/)
    expect(person?.groups).toEqual(
      expect.arrayContaining(['deep', `cn=deep,${groups}`, 'admins', `cn=admins,${groups}`]),
    )
    expect(person?.groups).toHaveLength(4)
  })

  it('knows one by the same id whatever they type, and by the name it has itself', async () => {
    const [small, large] = await Promise.all([lookUp(access(), 'ana'), lookUp(access(), 'ANA')])
    expect(large).toEqual(small)
  })

  it('tells a wrong password from somebody it does not know in no way', async () => {
    expect(await checkPassword(access(), 'ana', 'wrong')).toBeUndefined()
    expect(await checkPassword(access(), 'nobody', "ana's password")).toBeUndefined()
  })

  it('is not even asked about an empty password, which it would take for nobody’s sign-in', async () => {
    const dead = access({ urls: ['ldap://127.0.0.1:1'] })
    expect(await checkPassword(dead, 'ana', '')).toBeUndefined()
  })

  it.each(['*', 'an*', 'ana)(uid=*', '*)(|(uid=*', 'ana\0', '\\61na', 'ana)(&'])(
    'takes %j for a name, not for a part of the question',
    async (user) => expect(await lookUp(access(), user)).toBeUndefined(),
  )

  it('finds the groups of somebody whose distinguished name has parentheses, commas and umlauts', async () => {
    const person = await checkPassword(access(), 'doerte', "doerte's password")
    expect(person?.groups).toEqual([`cn=staff,${groups}`, 'staff'])
  })

  it('takes one group, which comes as a text, and many, which come as a list, from memberOf alone', async () => {
    const direct = async (user: string) => (await lookUp(access({ group_base: undefined }), user))?.groups
    expect(await direct('chris')).toEqual([`cn=vision,${groups}`, 'vision'])
    expect((await direct('ana'))?.toSorted()).toEqual(
      [`cn=admins,${groups}`, `cn=deep,${groups}`, 'admins', 'deep'].toSorted(),
    )
  })

  it('follows groups in groups, also in a circle, where that is asked for', async () => {
    const found = async (user: string, nested: boolean) =>
      (await lookUp(access({ nested }), user))?.groups.filter((name) => !name.includes('=')).toSorted()
    expect(await found('ana', true)).toEqual(['admins', 'deep', 'ml', 'staff'])
    expect(await found('ana', false)).toEqual(['admins', 'deep'])
    expect(await found('chris', true)).toEqual(['vision'])
  })

  it('cuts off the domain of a name only where it is expected', async () => {
    expect((await lookUp(access(), 'eve@lab.example'))?.name).toBe('eve')
    const other = await problem(lookUp(access(), 'mallory@elsewhere.example'))
    expect([other.code, other.message]).toEqual([
      'provider_failed',
      'the provider calls you mallory@elsewhere.example, with a domain',
    ])
    const strict = await problem(lookUp(access({ domains: [] }), 'eve@lab.example'))
    expect(strict.code).toBe('provider_failed')
  })

  it('sends no password to a server of another authority, nor to one whose certificate is for another host', async () => {
    const { cert } = await createCa('another')
    for (const url of [server.ldap, server.ldaps]) {
      const stranger = await problem(lookUp(access({ ca: cert, urls: [url] }), 'ana'))
      expect(stranger.code).toBe('provider_unreachable')
      expect(String(stranger.cause)).toMatch(/certificate|unable to verify/i)
      const unnamed = await problem(lookUp(access({ ca: undefined, urls: [url] }), 'ana'))
      expect(unnamed.code).toBe('provider_unreachable')
    }
    for (const url of server.misnamed) {
      const other = await problem(checkPassword(access({ urls: [url] }), 'ana', "ana's password"))
      expect(other.code).toBe('provider_unreachable')
      expect(String(other.cause)).toContain("127.0.0.2 is not in the cert's list")
    }
  })

  it('goes on to the next server when one is down or hangs, and not when a password is wrong', async () => {
    const second = await startDirectory()
    try {
      const both = access({ urls: ['ldap://127.0.0.1:1', second.ldap], ca: second.ca })
      expect((await checkPassword(both, 'ben', "ben's password"))?.name).toBe('ben')
      expect(await checkPassword(both, 'ben', 'wrong')).toBeUndefined()
      const silent = await listening()
      try {
        const hung = access({ urls: [silent.url, second.ldaps], ca: second.ca, encryption: 'none' })
        expect((await checkPassword(hung, 'ben', "ben's password"))?.name).toBe('ben')
      } finally {
        silent.server.close()
      }
    } finally {
      await second.stop()
    }
  })

  it('says which servers did not answer, and why', async () => {
    const none = access({ urls: ['ldap://127.0.0.1:3', 'ldaps://127.0.0.1:4'] })
    const down = await problem(checkPassword(none, 'ana', "ana's password"))
    expect(down.code).toBe('provider_unreachable')
    const [first, second] = String((down.cause as Error).message).split('; ')
    expect(first).toMatch(/^ldap:\/\/127\.0\.0\.1:3: .*ECONNREFUSED/)
    expect(second).toMatch(/^ldaps:\/\/127\.0\.0\.1:4: .*ECONNREFUSED/)
  })

  it.each([
    ['its own account', {}, 'wrong', /refuses the cluster's own account cn=submarine/],
    ['what people are below', { user_base: `ou=none,${base}` }, searcher.password, /has no ou=none/],
    [
      'a filter',
      { user_filter: '(|(uid={user})(uid=ben))' },
      searcher.password,
      /knows 2 people by that name/,
    ],
    [
      'the attribute of names',
      { name_attribute: 'employeeNumber' },
      searcher.password,
      /has no employeeNumber/,
    ],
  ] as const)('says that %s is wrong', async (_what, more, secret, message) => {
    const found = await problem(checkPassword(access(more, secret), 'ana', "ana's password"))
    expect(found.code).toBe('provider_failed')
    expect(found.message).toMatch(message)
  })
})

/** Takes connections and never says anything. */
async function listening(): Promise<{ server: Server; url: string }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.on('connection', (socket) => {
    socket.on('data', () => socket.destroy())
    socket.on('error', () => undefined)
  })
  return { server, url: `ldap://127.0.0.1:${(server.address() as { port: number }).port}` }
}
