// `npm run demo` as a newcomer runs it: one command, an experiment on three agents, nothing left behind.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { findNode } from '../../cli/node24.js'
import { eventually } from '../cluster/lab.ts'
import { type Engine, startEngine } from '../docker/engine.ts'
import { needs } from '../setup/needs.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const data = path.join(root, '.submarine/demo')
const noEngine = 'unix:///nonexistent.sock'

/** A demo that was started, and what it says. */
class Demo {
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess
  readonly #gone: Promise<unknown>

  constructor(args: readonly string[], dockerHost: string) {
    const child = spawn(findNode(), ['resources/demo/start.js', ...args], {
      cwd: root,
      env: { ...process.env, DOCKER_HOST: dockerHost },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.#child = child
    // "close" comes when the last that could write has ended too.
    this.#gone = once(child, 'close')
  }

  async says(what: RegExp): Promise<string> {
    await eventually(`the demo says ${String(what)}`, () => {
      if (this.#child.exitCode !== null)
        throw new Error(`it ended without saying ${String(what)}:\n${this.stderr}`)
      return what.test(this.stderr)
    })
    return what.exec(this.stderr)?.[1] ?? ''
  }

  interrupt(): void {
    this.#child.kill('SIGINT')
  }

  async ended(): Promise<number | null> {
    await this.#gone
    return this.#child.exitCode
  }
}

/** Command lines of the processes that have to do with the demo's folder. */
async function leftovers(): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')
    const [line, env] = await Promise.all([read('cmdline'), read('environ')])
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    if ([line, env, cwd].some((text) => text.includes(data))) found.push(line.replaceAll('\0', ' '))
  }
  return found
}

const outcomeOf = ({ stdout }: Demo) => JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as object
const good = (runtime: string) => ({
  experiment: expect.stringMatching(/^\w[\w-]+$/),
  state: 'Succeeded',
  node: expect.stringMatching(/^sub-[123]$/),
  runtime,
  accuracy: expect.toSatisfy((accuracy: number) => accuracy > 0.9 && accuracy <= 1),
  artifacts: expect.arrayContaining(['model.json']),
  seconds: expect.toSatisfy((seconds: number) => seconds > 0 && seconds < 180),
})

describe('the demo', () => {
  beforeEach(async () => {
    expect(await leftovers(), 'no demo may run in this folder meanwhile').toEqual([])
  })

  describe('without a Docker Engine', () => {
    it('runs its experiment as a process, once, and leaves nothing running', async () => {
      const demo = new Demo(['--once'], noEngine)
      await demo.says(/(Three agents are one cluster)/)
      expect((await leftovers()).length).toBeGreaterThanOrEqual(3)
      expect(await demo.ended(), demo.stderr).toBe(0)
      expect(outcomeOf(demo)).toEqual(good('process'))
      expect(demo.stderr).toContain('without isolation')
      expect(await leftovers()).toEqual([])
    })

    it('tells a second one where the first is, and ends all on Ctrl-C', async () => {
      const first = new Demo([], noEngine)
      const address = await first.says(/Console +(http:\/\/localhost:\d+)/)
      const login = await first.says(/Sign in +(admin \/ \S+)/)
      const second = new Demo(['--once'], noEngine)
      expect(await second.ended()).toBe(1)
      expect(second.stdout).toBe('')
      expect(second.stderr).toContain('running already')
      expect(second.stderr).toContain(address)
      expect(second.stderr).toContain(login)

      const [, password = ''] = login.split(' / ')
      const session = await fetch(`${address}/api/v2/session`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', origin: address },
        body: JSON.stringify({ user: 'admin', password }),
      })
      expect(session.ok).toBe(true)
      expect(await (await fetch(`${address}/`)).text()).toContain('<script type="module"')

      await first.says(/(The cluster runs until Ctrl-C)/)
      first.interrupt()
      expect(await first.ended(), first.stderr).toBe(0)
      expect(await leftovers()).toEqual([])
      await expect(fetch(address)).rejects.toThrow()
    })

    it('ends all when Ctrl-C comes while the experiment runs', async () => {
      const demo = new Demo(['--once'], noEngine)
      await demo.says(/(epoch)/)
      demo.interrupt()
      expect(await demo.ended(), demo.stderr).toBe(130)
      expect(demo.stderr).toContain('Stopped before the experiment had ended.')
      expect(demo.stdout).toBe('')
      expect(await leftovers()).toEqual([])
    })
  })

  describe('with a Docker Engine', needs.engine, () => {
    let engine: Engine
    let folder: string
    beforeAll(async () => {
      folder = await mkdtemp('/tmp/engine-')
      engine = await startEngine({ root: folder })
    })
    afterAll(async () => {
      await engine?.stop()
      await rm(folder, { recursive: true, force: true, maxRetries: 10 })
    })
    afterEach(async () => {
      expect(await leftovers()).toEqual([])
      expect(await engine.docker.listContainers()).toEqual([])
    })

    it('runs its experiment in a container', async () => {
      const demo = new Demo(['--once'], `unix://${engine.socket}`)
      await demo.says(/(epoch)/)
      const [container] = await engine.docker.listContainers()
      const image = await engine.docker.getImage(container?.ImageID ?? '').inspect()
      expect(image.RepoTags.join()).toContain('submarine-demo')
      expect(await demo.ended(), demo.stderr).toBe(0)
      expect(outcomeOf(demo)).toEqual(good('docker'))
    })

    it('stops the container on Ctrl-C', async () => {
      const demo = new Demo([], `unix://${engine.socket}`)
      await demo.says(/(epoch)/)
      expect(await engine.docker.listContainers()).toHaveLength(1)
      demo.interrupt()
      await demo.ended()
    })
  })
})
