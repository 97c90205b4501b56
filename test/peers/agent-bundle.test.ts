import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageAgent } from '../../resources/agent-package/package.ts'
import { eventually, freePorts, password } from '../cluster/lab.ts'

interface Ended {
  readonly code: number
  readonly out: string
}

let folder: string
let tar: string
let deb: string
let agent: ChildProcess | undefined
let submarine: string

/** Nothing of this machine's environment but the system's own programs. */
const environment = () => ({ PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder, LANG: 'C.UTF-8' })

function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  input = '',
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      { cwd: folder, env: { ...environment(), ...env } },
      (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, out: stdout + stderr }),
    )
    child.stdin?.on('error', () => undefined).end(input)
  })
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'submarine-bundle-'))
  const key = path.join(folder, 'key.pem')
  const { code } = await run('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', key])
  expect(code).toBe(0)
  const files = await packageAgent(folder, key, () => undefined)
  tar = files.find((file) => file.endsWith(`linux-${process.arch}.tar.gz`)) ?? ''
  deb = files.find((file) => file.endsWith('.deb')) ?? ''
  expect((await run('tar', ['-xzf', tar])).code).toBe(0)
  const [unpacked = ''] = (await readdir(folder)).filter((name) => /^submarine-agent-[\d.]+$/.test(name))
  submarine = path.join(folder, unpacked, 'bin/submarine')
})

afterAll(async () => {
  if (agent && agent.exitCode === null) {
    agent.kill('SIGTERM')
    await once(agent, 'exit')
  }
  await rm(folder, { recursive: true, force: true })
})

describe('the agent as a bundle', () => {
  it('has every file as it was packed', async () => {
    const sums = await run('sh', [
      '-c',
      `cd "${path.dirname(submarine)}/.." && sha256sum --check --quiet SHA256SUMS`,
    ])
    expect(sums).toEqual({ code: 0, out: '' })
  })

  it('is verified by its signature, and refused with one byte changed', async () => {
    const key = path.join(folder, 'submarine-release.pub')
    const good = await run(submarine, ['bundle', 'verify', tar, '--key', key])
    expect(good).toMatchObject({ code: 0, out: expect.stringContaining('signed by the holder') })
    const content = await readFile(tar)
    content[1000] = (content[1000] ?? 0) ^ 1
    const bad = path.join(folder, 'changed.tar.gz')
    await writeFile(bad, content)
    const refused = await run(submarine, ['bundle', 'verify', bad, '--key', key, '--signature', `${tar}.sig`])
    expect(refused).toMatchObject({ code: 1, out: expect.stringContaining('Do not install it') })
  })

  it('forms a cluster and runs an experiment to its end, with nothing but what is in it', async () => {
    const [tls, http] = await freePorts(2)
    const data = path.join(folder, 'data')
    const args = [
      'agent',
      'start',
      '--data',
      data,
      '--create',
      '--cluster-name',
      'lab',
      '--bind',
      `127.0.0.1:${tls}`,
    ]
    args.push(
      '--advertise',
      `127.0.0.1:${tls}`,
      '--http-loopback',
      String(http),
      '--no-docker',
      '--process-runtime',
    )
    const env = { ...environment(), SUBMARINE_ADMIN_PASSWORD: password }
    agent = spawn(submarine, [...args, '--log-level', 'warn'], { cwd: folder, env, stdio: 'ignore' })
    const url = `http://127.0.0.1:${http}`
    const login = ['login', url, '--password-stdin']
    await eventually('signed in', async () => (await run(submarine, login, {}, `${password}\n`)).code === 0)
    const code = path.join(folder, 'code')
    await mkdir(code)
    await writeFile(path.join(code, 'say.sh'), 'echo "from the bundle"\nexit 7\n')
    const ended = await run('sh', [
      '-c',
      `cd "${code}" && exec "${submarine}" run --cpu 0.1 --memory 64Mi -- sh say.sh`,
    ])
    expect(ended).toMatchObject({ code: 7, out: expect.stringContaining('from the bundle') })
    const page = await fetch(url)
    expect(page.status).toBe(200)
    expect(await page.text()).toContain('<script type="module"')
  })

  it.runIf(existsSync('/usr/bin/dpkg'))('installs, upgrades, is removed and purged by dpkg', async () => {
    const root = path.join(folder, 'root')
    await mkdir(path.join(root, 'var/lib/dpkg/updates'), { recursive: true })
    await mkdir(path.join(root, 'var/lib/dpkg/info'))
    await writeFile(path.join(root, 'var/lib/dpkg/status'), '')
    const dpkg = (...args: string[]) =>
      run('dpkg', [`--root=${root}`, '--force-script-chrootless,depends,not-root', ...args])
    const at = (name: string) => path.join(root, name)
    expect(await dpkg('--install', deb)).toMatchObject({
      code: 0,
      out: expect.stringContaining('nothing was started'),
    })
    const version = await run(at('usr/bin/submarine'), ['--version'])
    expect(version.code).toBe(0)
    const settings = `${await readFile(at('etc/submarine/agent.env'), 'utf8')}# of this host\n`
    await writeFile(at('etc/submarine/agent.env'), settings)
    await mkdir(at('var/lib/submarine'), { recursive: true })
    expect(await dpkg('--install', deb)).toMatchObject({ code: 0 })
    expect(await readFile(at('etc/submarine/agent.env'), 'utf8')).toBe(settings)
    expect(await dpkg('--remove', 'submarine-agent')).toMatchObject({ code: 0 })
    expect([existsSync(at('usr/lib/submarine')), existsSync(at('etc/submarine/agent.env'))]).toEqual([
      false,
      true,
    ])
    expect(await dpkg('--purge', 'submarine-agent')).toMatchObject({
      code: 0,
      out: expect.stringContaining('KEPT'),
    })
    expect([existsSync(at('etc/submarine')), existsSync(at('var/lib/submarine'))]).toEqual([false, true])
  })
})
