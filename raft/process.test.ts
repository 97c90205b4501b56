import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Rng } from './testing/rng.ts'

const script = path.join(import.meta.dirname, 'testing', 'process.ts')

/** A member as a real process on real sockets and a real disk. */
class Child {
  readonly process: ChildProcessWithoutNullStreams
  readonly ready: Promise<void>
  readonly exited: Promise<'died'>
  readonly #waiting = new Map<string, (line: string) => void>()
  #onList: (list: string[]) => void = () => {}
  stderr = ''

  constructor(dir: string, id: number, ports: number[]) {
    this.process = spawn(process.execPath, [script, path.join(dir, String(id)), String(id), ports.join()])
    this.process.stderr.on('data', (d: Buffer) => (this.stderr += d.toString()))
    this.process.stdin.on('error', () => {})
    this.exited = new Promise((resolve) => this.process.on('exit', () => resolve('died')))
    this.ready = new Promise((resolve, reject) => {
      this.process.on('exit', () => reject(new Error(`member ${id} did not start: ${this.stderr}`)))
      createInterface(this.process.stdout).on('line', (line) => {
        if (line === 'ready') resolve()
        else if (line.startsWith('[')) this.#onList(JSON.parse(line) as string[])
        else {
          const command = line.split(' ')[1] as string
          this.#waiting.get(command)?.(line)
          this.#waiting.delete(command)
        }
      })
    })
    this.ready.catch(() => {})
  }

  /** What became of a command: "ok …", "failed …" or "died". */
  propose(command: string): Promise<string> {
    this.process.stdin.write(`${command}\n`)
    return Promise.race([this.exited, new Promise<string>((resolve) => this.#waiting.set(command, resolve))])
  }

  list(): Promise<string[]> {
    this.process.stdin.write('list\n')
    return new Promise((resolve) => (this.#onList = resolve))
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.exited
  }
}

let dir: string
let children: Child[] = []
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'raft-process-'))
})
afterEach(async () => {
  for (const c of children) c.process.kill('SIGKILL')
  children = []
  await rm(dir, { recursive: true, force: true })
})

async function freePorts(n: number): Promise<number[]> {
  const servers = Array.from({ length: n }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((s) => new Promise((resolve) => s.once('listening', resolve))))
  const ports = servers.map((s) => (s.address() as { port: number }).port)
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))))
  return ports
}

test(
  'three processes, killed and paused again and again: what was acknowledged is there, once, everywhere',
  { timeout: 60_000 },
  async () => {
    const ports = await freePorts(3)
    const start = (id: number) => (children[id - 1] = new Child(dir, id, ports))
    for (const id of [1, 2, 3]) start(id)
    await Promise.all(children.map((c) => c.ready))

    const rng = new Rng(Number(process.env['RAFT_SEED'] ?? 1))
    const acked = new Set<string>()
    const sent = new Set<string>()
    let writing = true
    let serial = 0
    const writer = async (id: number) => {
      while (writing) {
        const command = `w${id}-${serial++}`
        sent.add(command)
        const answer = await (children[id - 1] as Child).propose(command)
        if (answer.startsWith('ok')) acked.add(command)
        if (answer === 'died') await new Promise((r) => setTimeout(r, 20))
      }
    }
    const writers = [1, 2, 3, 1, 2, 3].map(writer)
    for (let round = 0; round < 8; round++) {
      const victim = children[rng.int(3)] as Child
      await new Promise((r) => setTimeout(r, 50 + rng.int(150)))
      const before = acked.size
      const othersGoOn = async () => {
        while (acked.size < before + 10) await new Promise((r) => setTimeout(r, 5))
      }
      if (round % 2 === 0) {
        await victim.kill()
        await othersGoOn()
        await start(children.indexOf(victim) + 1).ready
      } else {
        victim.process.kill('SIGSTOP')
        await othersGoOn()
        const known = [...acked]
        // What it does first when it goes on is read, and it may believe that it leads.
        const list = victim.list()
        victim.process.kill('SIGCONT')
        const read = new Set(await list)
        expect(
          known.filter((c) => !read.has(c)),
          'a stale read after a pause',
        ).toEqual([])
      }
    }
    // All at once.
    await Promise.all(children.map((c) => c.kill()))
    for (const id of [1, 2, 3]) start(id)
    await Promise.all(children.map((c) => c.ready))
    const before = acked.size
    while (acked.size < before + 10) await new Promise((r) => setTimeout(r, 5))
    writing = false
    await Promise.all(writers)

    const lists = await Promise.all(children.map((c) => c.list()))
    const [first = []] = lists
    const shortest = Math.min(...lists.map((l) => l.length))
    for (const l of lists) expect(l.slice(0, shortest)).toEqual(first.slice(0, shortest))
    expect(new Set(first).size, 'nothing ran twice').toBe(first.length)
    expect(
      [...acked].filter((c) => !first.includes(c)),
      'acknowledged and lost',
    ).toEqual([])
    expect(
      first.filter((c) => !sent.has(c)),
      'never sent',
    ).toEqual([])
  },
)
