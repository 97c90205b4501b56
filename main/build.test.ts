import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { spawnSync } from 'node:child_process'
import { isBuiltin } from 'node:module'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { buildDesktop } from './build.js'
import { findElectron, howToGetElectron } from './electron-binary.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'submarine-build-'))
  await buildDesktop(path.join(folder, 'out'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Whatever a bundle asks its host for at run time. */
async function imports(file: string): Promise<string[]> {
  const code = await readFile(path.join(folder, 'out', file), 'utf8')
  // Comments of bundled packages name files, too; statements and calls do not begin with a star.
  const found = code.matchAll(
    /^(?!\s*\*).*?\b(?:__)?require\(\s*["']([^"']+)["']|^import\b[^"']*["']([^"']+)["']/gm,
  )
  return [...new Set([...found].map((m) => m[1] ?? m[2] ?? ''))]
}

describe('the built app', () => {
  it('has a preload of one CommonJS file that needs electron and nothing else', async () => {
    expect(await imports('preload.cjs')).toEqual(['electron'])
    const code = await readFile(path.join(folder, 'out/preload.cjs'), 'utf8')
    expect(code).not.toMatch(/^(import|export) /m)
    expect(code.length).toBeLessThan(10_000)
    expect(code.match(/exposeInMainWorld/g)).toHaveLength(1)
  })

  it('runs as that file: one object reaches the page, ipcRenderer does not', async () => {
    const code = await readFile(path.join(folder, 'out/preload.cjs'), 'utf8')
    const exposed: [string, Record<string, (argument: unknown) => unknown>][] = []
    const invoked: unknown[] = []
    // A double of the sandbox's `require`, as Electron gives it to a preload.
    const electron = {
      contextBridge: { exposeInMainWorld: (...args: (typeof exposed)[number]) => exposed.push(args) },
      ipcRenderer: { invoke: (...args: unknown[]) => invoked.push(args) },
    }
    // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the way a preload is loaded
    ;(new Function('require', code) as (require: unknown) => void)((name: string) => {
      if (name === 'electron') return electron
      throw new Error(`the sandbox has no ${name}`)
    })
    expect(exposed.map(([name]) => name)).toEqual(['desktop'])
    exposed[0]?.[1]['connections.list']?.({})
    expect(invoked).toEqual([['connections.list', {}]])
  })

  it('has a main process that needs electron and Node alone', async () => {
    const rest = (await imports('index.js')).filter((name) => !isBuiltin(name))
    expect(rest).toEqual(['electron'])
    const check = spawnSync(process.execPath, ['--check', path.join(folder, 'out/index.js')])
    expect(check.status).toBe(0)
    expect((await readdir(path.join(folder, 'out'))).toSorted()).toEqual([
      'connect',
      'index.js',
      'preload.cjs',
    ])
  })
})

describe('Electron’s binary', () => {
  it('is found in the override folder, then in the package; its absence is told with ways to get it', async () => {
    const modules = path.join(folder, 'modules')
    const dist = path.join(folder, 'dist')
    expect(findElectron({}, modules, 'linux')).toBeUndefined()
    expect(howToGetElectron).toContain('ELECTRON_OVERRIDE_DIST_PATH')
    await mkdir(path.join(modules, 'electron/dist'), { recursive: true })
    await mkdir(dist)
    await writeFile(path.join(modules, 'electron/dist/electron'), '')
    expect(findElectron({}, modules, 'linux')).toBe(path.join(modules, 'electron/dist/electron'))
    expect(findElectron({ ELECTRON_OVERRIDE_DIST_PATH: dist }, modules, 'linux')).toBeUndefined()
    await writeFile(path.join(dist, 'electron'), '')
    expect(findElectron({ ELECTRON_OVERRIDE_DIST_PATH: dist }, modules, 'linux')).toBe(
      path.join(dist, 'electron'),
    )
  })
})

describe('electron-builder.yml', () => {
  it('packs exactly what is built, with every fuse on the safe side', async () => {
    const root = path.join(import.meta.dirname, '..')
    const config = parse(await readFile(path.join(root, 'electron-builder.yml'), 'utf8')) as Record<
      string,
      unknown
    >
    expect(config).toMatchObject({
      files: ['package.json', 'main/out/**', 'renderer/dist/**', '!node_modules/**'],
      asar: true,
      publish: null,
      npmRebuild: false,
      electronFuses: {
        runAsNode: false,
        enableNodeOptionsEnvironmentVariable: false,
        enableNodeCliInspectArguments: false,
        enableCookieEncryption: true,
        onlyLoadAppFromAsar: true,
        enableEmbeddedAsarIntegrityValidation: true,
        grantFileProtocolExtraPrivileges: false,
      },
    })
    const { version } = JSON.parse(
      await readFile(path.join(root, 'node_modules/electron/package.json'), 'utf8'),
    ) as { version: string }
    expect(config.electronVersion).toBe(version)
  })
})
