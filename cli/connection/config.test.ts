import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Terminal } from '../terminal.ts'
import { type Context, loadConfig, saveConfig, withContext } from './config.ts'
import { resolveTarget } from './open.ts'

let folder: string
let messages: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-config-'))
  messages = ''
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const terminal = (env: Terminal['env'] = {}): Terminal => ({
  env: { XDG_CONFIG_HOME: folder, ...env },
  cwd: folder,
  stdin: process.stdin,
  interactive: false,
  out: () => undefined,
  err: (text) => (messages += text),
  paint: (_, text) => text,
})
const context: Context = {
  name: 'lab',
  cluster: { id: 'c1', name: 'lab' },
  addresses: ['https://10.0.0.1:7460', 'https://10.0.0.2:7460'],
  ca: 'PEM',
  user: 'ana',
  token: 'secret',
}
const config = withContext({ version: 1, contexts: [] }, context)

describe('the configuration file', () => {
  it('is private, and its folder too', async () => {
    await saveConfig(terminal(), config)
    const file = path.join(folder, 'submarine/config.json')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700)
    expect(await readdir(path.dirname(file))).toEqual(['config.json'])
    expect(await loadConfig(terminal())).toEqual(config)
  })

  it('is made private again when it was not, with a warning', async () => {
    await saveConfig(terminal(), config)
    const file = path.join(folder, 'submarine/config.json')
    await chmod(file, 0o644)
    await loadConfig(terminal())
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(messages).toContain('readable by others')
  })

  it('is refused when it is no configuration, and left alone', async () => {
    const file = path.join(folder, 'own.json')
    await writeFile(file, '{"version":9}', { mode: 0o600 })
    await expect(loadConfig(terminal({ SUBMARINE_CONFIG: file }))).rejects.toThrow('own.json is not readable')
  })
})

describe('where to connect', () => {
  const target = (env: Terminal['env']) => resolveTarget(terminal(env), config)

  it('is the current context, with a token of the environment before its own', async () => {
    expect(await target({})).toMatchObject({ addresses: context.addresses, token: 'secret' })
    expect(await target({ SUBMARINE_TOKEN: 'other' })).toMatchObject({ token: 'other' })
  })

  it('takes the stored token to its own cluster only', async () => {
    expect(await target({ SUBMARINE_ADDRESS: '10.0.0.2' })).toMatchObject({ token: 'secret', ca: 'PEM' })
    expect((await target({ SUBMARINE_ADDRESS: 'http://127.0.0.1:7000' })).token).toBeUndefined()
    await expect(target({ SUBMARINE_ADDRESS: '10.9.9.9' })).rejects.toThrow('no certificate authority')
    await expect(target({ SUBMARINE_ADDRESS: '10.0.0.2,10.9.9.9' })).rejects.toThrow('no certificate')
  })

  it('is nowhere before the first sign-in', async () => {
    const empty = resolveTarget(terminal(), { version: 1, contexts: [] })
    await expect(empty).rejects.toMatchObject({ code: 'unauthenticated' })
  })
})
