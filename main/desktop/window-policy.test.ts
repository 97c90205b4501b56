import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createConsoleHandler } from './console-handler.ts'
import { csp } from '../../contract/csp.ts'
import { menuTemplate } from './menu.ts'
import {
  allowsPermission,
  consoleScheme,
  guardNavigation,
  isConsole,
  windowOptions,
} from './window-policy.ts'

describe('the window', () => {
  it('is closed in by every switch there is', () => {
    expect(windowOptions('/preload.cjs').webPreferences).toMatchObject({
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      nodeIntegrationInSubFrames: false,
      nodeIntegrationInWorker: false,
      webSecurity: true,
      webviewTag: false,
      allowRunningInsecureContent: false,
    })
    expect(consoleScheme.privileges).not.toHaveProperty('bypassCSP')
  })

  it.each([
    ['app://console/', true],
    ['app://console/experiments?x=1', true],
    ['app://console.evil/', false],
    ['app://user@console/', false],
    ['https://console/', false],
    ['file:///etc/passwd', false],
    ['javascript:alert(1)', false],
    ['about:blank', false],
    ['', false],
  ])('goes to %j: %s', (url, allowed) => {
    let prevented = false
    guardNavigation({ url, preventDefault: () => (prevented = true) })
    expect([isConsole(url), !prevented]).toEqual([allowed, allowed])
  })

  it('grants two permissions to the console and none to others', () => {
    const asked = [
      'notifications',
      'clipboard-sanitized-write',
      'media',
      'geolocation',
      'clipboard-read',
      'hid',
    ]
    expect(asked.filter((name) => allowsPermission(name, 'app://console/'))).toEqual(asked.slice(0, 2))
    expect(asked.filter((name) => allowsPermission(name, 'https://evil.example/'))).toEqual([])
  })

  it('shows developer tools in development only', () => {
    const text = (development: boolean) => JSON.stringify(menuTemplate(() => undefined, development))
    expect(text(true)).toContain('toggleDevTools')
    expect(text(false)).not.toContain('toggleDevTools')
  })
})

describe('app://console', () => {
  let folder: string
  let connected = true
  const get = (url: string, method = 'GET') =>
    createConsoleHandler(
      { console: path.join(folder, 'console'), connect: path.join(folder, 'connect') },
      { handle: () => Promise.resolve(new Response('api')) },
      () => connected,
    )(new Request(url, { method }))
  const text = async (url: string) => (await get(url)).text()

  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-pages-'))
    for (const name of ['console', 'connect']) {
      await mkdir(path.join(folder, name, 'assets'), { recursive: true })
      await writeFile(path.join(folder, name, 'index.html'), `page of ${name}`)
      await writeFile(path.join(folder, name, 'assets', 'a.js'), `script of ${name}`)
    }
    await writeFile(path.join(folder, 'secret.txt'), 'secret')
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('serves the console with the agents’ own policy', async () => {
    const answer = await get('app://console/assets/a.js')
    expect(answer.headers.get('content-type')).toContain('text/javascript')
    expect(answer.headers.get('content-security-policy')).toBe(csp)
    expect(await answer.text()).toBe('script of console')
  })

  it('answers every page with the console, the API by the proxy, and asks for a cluster before', async () => {
    expect(await text('app://console/experiments/exp-1')).toBe('page of console')
    expect(await text('app://console/api/v2/nodes')).toBe('api')
    expect(await text('app://console/connect/')).toBe('page of connect')
    connected = false
    expect(await text('app://console/')).toBe('page of connect')
    connected = true
  })

  it.each([
    ['app://other/', 404],
    ['app://console/missing.js', 404],
    ['app://console/..%2fsecret.txt', 404],
    ['app://console/%2e%2e/secret.txt', 404],
    ['app://console/..%5csecret.txt', 404],
    ['app://console/assets%00.js', 404],
    ['app://console/%zz.js', 404],
    ['app://console//etc/passwd.txt', 404],
    ['app://console/connect/../../secret.txt', 404],
  ])('answers %s with %i', async (url, status) => {
    expect((await get(url)).status).toBe(status)
  })

  it('takes no writes but those of the API', async () => {
    expect((await get('app://console/', 'POST')).status).toBe(405)
  })
})
