// A real cluster's console: HTTPS under the cluster's own authority, in a browser that trusts it and in one that does not.
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Browser } from 'playwright'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Lab, password } from '../cluster/lab.ts'
import { allOf, needs } from '../setup/needs.ts'
import { launch, notSignedIn, Visit, type VisitOptions } from './browser.ts'
import { NodesPage } from './pages/nodes.ts'
import { SignInPage } from './pages/sign-in.ts'

const exec = promisify(execFile)

describe('the console over HTTPS', allOf(needs.chromium, needs.certutil), () => {
  let lab: Lab
  let authority: string
  const homes: string[] = []
  const browsers: Browser[] = []

  beforeAll(async () => {
    lab = await Lab.start({ agents: 1 })
    authority = path.join(lab.agents[0]?.data ?? '', 'tls/ca.pem')
  })
  afterAll(async () => {
    await Promise.all(browsers.map((browser) => browser.close()))
    await lab?.stop()
    await Promise.all(homes.map((home) => rm(home, { recursive: true, force: true })))
  })

  /** The browser of a person with a home of their own, who trusts these authorities. */
  async function browserOf(...authorities: string[]): Promise<Browser> {
    const home = await mkdtemp(path.join(tmpdir(), 'submarine-home-'))
    homes.push(home)
    const database = path.join(home, '.pki/nssdb')
    await mkdir(database, { recursive: true })
    await exec('certutil', ['-d', `sql:${database}`, '-N', '--empty-password'])
    for (const file of authorities)
      await exec('certutil', ['-d', `sql:${database}`, '-A', '-n', 'lab', '-t', 'C,,', '-i', file])
    const browser = await launch({ ...process.env, HOME: home, XDG_DATA_HOME: undefined })
    browsers.push(browser)
    return browser
  }

  const visit = (browser: Browser, options: VisitOptions = {}) =>
    Visit.open(browser, `https://127.0.0.1:${lab.agents[0]?.tls}`, options)

  it('is refused by a browser that does not know the authority, and then says how to trust it', async () => {
    const browser = await browserOf()
    const careful = await visit(browser)
    await expect(careful.goto('/')).rejects.toThrow('ERR_CERT_AUTHORITY_INVALID')

    const careless = await visit(browser, { ignoreHTTPSErrors: true })
    careless.expect(notSignedIn)
    await careless.goto('/')
    const signIn = new SignInPage(careless.page)
    await signIn.heading.waitFor()
    const { text, fingerprint, download } = await signIn.trust()
    const pem = await readFile(authority)
    expect(fingerprint).toBe(new X509Certificate(pem).fingerprint256)
    expect(text).toMatch(/authorities of your browser or system/)
    const coming = careless.page.waitForEvent('download')
    await download.click()
    expect(await readFile(await (await coming).path(), 'utf8')).toBe(pem.toString())
    expect(careless.faults).toEqual([])
  })

  it('opens without a warning, over HTTP/2, in one that does', async () => {
    const opened = await visit(await browserOf(authority))
    opened.expect(notSignedIn)
    await opened.goto('/nodes')
    const { page } = opened
    await new SignInPage(page).signIn('admin', password)
    const nodes = new NodesPage(page)
    await nodes.settled('Nodes')
    expect(await nodes.states()).toEqual({ 'host-1': 'Ready' })
    await expect.poll(async () => (await nodes.bars('host-1')).widths.length, { timeout: 30_000 }).toBe(3)

    expect(await page.evaluate('isSecureContext')).toBe(true)
    const protocols = await page.evaluate<[string, string][]>(
      `['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))
        .map(({ name, nextHopProtocol }) => [name.replace(/.*\\/api/, '/api'), nextHopProtocol])`,
    )
    expect(protocols.map(([name]) => name)).toContain('/api/v2/nodes?page_size=1000')
    expect(protocols.filter(([, protocol]) => protocol !== 'h2')).toEqual([])
    expect(await page.context().cookies()).toMatchObject([
      { name: 'submarine_session', secure: true, httpOnly: true, sameSite: 'Strict' },
    ])
    expect(opened.faults).toEqual([])
  })
})
