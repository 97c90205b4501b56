import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, statfsSync, type WriteStream } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findNode } from '../../cli/node24.js'
import type { Host } from '../docker/lan.ts'
import { faketime } from '../setup/needs.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Above the floor below which an agent takes no new work, and only a limit: nothing of it is used. */
const roomKiB = 2 * 1024 ** 2
const restartMs = 500
const afterglowMs = 10_000

export interface AgentOptions {
  readonly host: Host
  readonly folder: string
  readonly name: string
  readonly password: string
}

/** One real agent on a host of its own: own network, own disk, own clock, and started again whenever it ends. */
export class ChaosAgent {
  readonly name: string
  readonly host: Host
  readonly disk: string
  readonly logFile: string
  /** Ends that no fault explains. */
  readonly surprises: string[] = []
  starts = 0
  readonly #clockFile: string
  readonly #password: string
  #log: WriteStream | undefined
  #process: ChildProcess | undefined
  /** While there are any, an end is a fault's doing. */
  readonly #excuses = new Set<string>()
  /** The present process lived through a fault that may end it. */
  #isExcused = false
  #isDown = false
  #stopped = false

  constructor({ host, folder, name, password }: AgentOptions) {
    this.name = name
    this.host = host
    this.disk = join(folder, name)
    this.logFile = join(folder, `${name}.log`)
    this.#clockFile = join(folder, `${name}.clock`)
    this.#password = password
  }

  get origin(): string {
    return `https://${this.host.address}:7460`
  }
  get data(): string {
    return join(this.disk, 'data')
  }
  get pid(): number | undefined {
    return this.running ? this.#process?.pid : undefined
  }
  get running(): boolean {
    return this.#process?.exitCode === null && this.#process.signalCode === null
  }

  async prepare(): Promise<void> {
    await mkdir(this.disk, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${roomKiB}k`, 'tmpfs', this.disk])
    await this.setClock(0)
    this.#log = createWriteStream(this.logFile, { flags: 'a' })
  }

  /** `how` is what only the first start says: --create or --join. */
  start(how: readonly string[] = []): void {
    const listen = `${this.host.address}:7460`
    const line = this.host.command([
      findNode(), 'cli/index.ts', 'agent', 'start', '--data', this.data, '--name', this.name, '--bind', listen,
      '--advertise', listen, '--no-docker', '--process-runtime', '--share-cpu', '1', '--share-memory', '1Gi', ...how,
    ]) // prettier-ignore
    const [program = '', ...args] = line
    const child = spawn(program, args, {
      cwd: root,
      env: {
        ...process.env,
        SUBMARINE_ADMIN_PASSWORD: this.#password,
        LD_PRELOAD: faketime,
        FAKETIME_TIMESTAMP_FILE: this.#clockFile,
        FAKETIME_CACHE_DURATION: '1',
        // Timers stand on the monotonic clock, which no real clock jump touches.
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.starts++
    this.#isExcused = this.#excuses.size > 0
    if (this.#log) for (const stream of [child.stdout, child.stderr]) stream.pipe(this.#log, { end: false })
    child.once('exit', (code, signal) => this.#ended(code, signal))
    this.#process = child
  }

  /** As an init system does, unless a fault holds it down. */
  #ended(code: number | null, signal: NodeJS.Signals | null): void {
    this.#log?.write(
      `--- ended: ${signal ?? code} (${[...this.#excuses].join(', ') || (this.#isExcused ? 'a fault just before' : 'no fault explains it')})\n`,
    )
    if (this.#stopped) return
    if (!this.#isExcused) this.surprises.push(`${this.name} ended with ${signal ?? code}`)
    setTimeout(() => {
      if (!this.#isDown && !this.#stopped && !this.running) this.start()
    }, restartMs)
  }

  /** An end from now on is the fault's doing, and a start may fail. */
  excuse(fault: string): void {
    this.#excuses.add(fault)
    this.#isExcused = true
  }

  /** The fault is over. Its process may still end of it, one started later may not. */
  takeBack(fault: string): void {
    this.#excuses.delete(fault)
    const { pid } = this
    setTimeout(() => {
      if (this.pid === pid && this.#excuses.size === 0) this.#isExcused = false
    }, afterglowMs).unref()
  }

  /** kill -9, and down until `revive`. */
  async kill(): Promise<void> {
    this.#isDown = true
    this.excuse('killed')
    await this.#end('SIGKILL')
  }

  revive(): void {
    this.#isDown = false
    this.takeBack('killed')
    if (!this.running) this.start()
  }

  pause(): void {
    this.#process?.kill('SIGSTOP')
  }
  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Its wall clock runs so many seconds ahead of everybody's, or behind. */
  async setClock(seconds: number): Promise<void> {
    await writeFile(this.#clockFile, `${seconds < 0 ? '' : '+'}${seconds}\n`)
  }

  /** Its disk has room for a few pages more. */
  fillDisk(): void {
    for (let tries = 1; ; tries++) {
      const { blocks, bfree, bsize } = statfsSync(this.disk)
      const used = Math.ceil(((blocks - bfree) * bsize) / 1024)
      try {
        this.#resizeDisk(used + 64)
        return
      } catch (error) {
        // It may have written more in between, and a file system cannot shrink below what it holds.
        if (tries === 20) throw error
      }
    }
  }
  freeDisk(): void {
    this.#resizeDisk(roomKiB)
  }
  #resizeDisk(kib: number): void {
    execFileSync('mount', ['-o', `remount,size=${kib}k`, this.disk], { stdio: 'pipe' })
  }

  log(): Promise<string> {
    return readFile(this.logFile, 'utf8').catch(() => '')
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#end('SIGKILL')
    this.#log?.end()
  }

  removeDisk(): void {
    execFileSync('umount', ['-l', this.disk], { stdio: 'ignore' })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    if (!child || !this.running) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
}
