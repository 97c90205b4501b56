import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { serve, type Served } from '../../agent/http/testing/served.ts'
import { runCli, startCli } from '../../cli/testing/run-cli.ts'
import { base, type DirectoryServer, searcher, startDirectory } from '../setup/directory.ts'
import { client, type Issuer, startIssuer, Visitor } from '../setup/issuer.ts'
import { needs } from '../setup/needs.ts'

let served: Served
let folder: string
beforeAll(async () => {
  served = await serve({ nodes: 1 })
  // Who signs in asks their own clock how long a code is good for.
  served.world.now = Date.now()
  folder = await mkdtemp(path.join(os.tmpdir(), 'sign-in-cli-'))
})
afterAll(async () => {
  await served.close()
  await rm(folder, { recursive: true })
})
const cli = (args: string[], input?: string) =>
  runCli(args, {
    env: { SUBMARINE_ADDRESS: served.origin, SUBMARINE_TOKEN: served.world.signIn() },
    ...(input === undefined ? {} : { input }),
  })
async function written(name: string, settings: object): Promise<string> {
  const file = path.join(folder, name)
  await writeFile(file, stringify(settings))
  return file
}

describe('the command line tells of a directory', needs.slapd, () => {
  let server: DirectoryServer
  beforeAll(async () => {
    server = await startDirectory()
  })
  afterAll(() => server?.stop())

  it('from a file and a secret on stdin, checks it with somebody, and forgets it', async () => {
    const file = await written('lab.yaml', {
      kind: 'ldap', urls: [server.ldap], ca: server.ca, bind_dn: searcher.dn, user_base: `ou=people,${base}`,
      group_base: `ou=groups,${base}`,
    }) // prettier-ignore
    const set = ['identity-provider', 'set', 'lab', '-f', file]
    expect(await cli([...set, '--secret-stdin'], `${searcher.password}\n`)).toMatchObject({ code: 0, stdout: expect.stringMatching(/secret +kept, never shown/) as string }) // prettier-ignore
    expect((await cli(['identity-provider', 'list'])).stdout).toMatch(/lab +ldap +ldap:\/\/\S+ +yes/)
    const checked = await cli(['identity-provider', 'check', 'lab'])
    expect(checked).toMatchObject({ code: 0, stdout: expect.stringContaining('ok  ') as string })
    const nobody = await cli(['identity-provider', 'check', 'lab', '--user', 'nobody'])
    expect(nobody).toMatchObject({ code: 1, stdout: expect.stringContaining('no  ') as string })
    expect(await cli(['identity-provider', 'delete', 'lab'])).toMatchObject({ code: 2 })
    expect(await cli(['identity-provider', 'delete', 'lab', '--yes'])).toMatchObject({ code: 0 })
    expect(await cli(['identity-provider', 'get', 'lab'])).toMatchObject({ code: 3 })
  })

  it('and says what is wrong with the file', async () => {
    const file = await written('bad.yaml', { kind: 'ldap', urls: ['http://x'], user_base: 'dc=x' })
    expect(await cli(['identity-provider', 'set', 'lab', '-f', file])).toMatchObject({ code: 2, stderr: expect.stringContaining('/urls/0') as string }) // prettier-ignore
  })
})

describe('signing in by a browser', () => {
  let issuer: Issuer
  beforeAll(async () => {
    issuer = await startIssuer({
      people: { dana: { preferred_username: 'dana' } },
      redirectUris: [`${served.origin}/api/v2/sign-in/campus/callback`],
    })
    const file = await written('campus.yaml', { kind: 'oidc', issuer: issuer.url, client_id: client.id, title: 'Campus' }) // prettier-ignore
    const set = await cli(['identity-provider', 'set', 'campus', '-f', file, '--secret-stdin'], `${client.secret}\n`) // prettier-ignore
    expect(set).toMatchObject({ code: 0 })
  })
  afterAll(() => issuer?.stop())

  it('waits until somebody confirms the code, and keeps the sign-in', async () => {
    const config = path.join(folder, 'config.json')
    const env = { SUBMARINE_CONFIG: config }
    const login = startCli(['login', served.origin, '--provider', 'campus'], { env })
    await login.saw('confirm the code')
    await login.saw('user_code=')
    const [page = ''] = /http\S+user_code=\S+/.exec(login.said()) ?? []
    expect(await readFile(config, 'utf8').catch(() => '')).toBe('')
    await new Visitor('dana').walk(page, 'never').catch(() => undefined)
    expect(await login.ended).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('Signed in to lab as dana.') as string,
    })
    expect((await runCli(['whoami'], { env })).stdout).toMatch(/name +dana\nrank +member/)
  })
})
