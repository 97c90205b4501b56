import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { freePorts, loopback, until, type Place } from '../raft/members.ts'
import type { Address } from '../raft/transport.ts'

const exec = promisify(execFile)

/** Clock ticks of /proc/PID/stat. */
const MICROS_PER_TICK = 10_000

interface Member {
  readonly args: readonly string[]
  readonly client: Address
  readonly place: Place
  process: ChildProcess | undefined
}

/** Three members of etcd with its defaults, on plain TCP and with fsync. */
export class EtcdProcesses {
  readonly #members: Member[]

  private constructor(members: Member[]) {
    this.#members = members
  }

  static async start(
    dir: string,
    places: readonly Place[] = [loopback, loopback, loopback],
  ): Promise<EtcdProcesses> {
    const ports = await freePorts(places.length * 2)
    const url = (i: number, offset: number) => `http://${places[i]?.host}:${ports[2 * i + offset]}`
    const cluster = places.map((_, i) => `m${i + 1}=${url(i, 1)}`).join()
    const members = places.map((place, i): Member => {
      const args = [
        '--name', `m${i + 1}`, '--data-dir', path.join(dir, `etcd-${i + 1}`),
        '--listen-client-urls', url(i, 0), '--advertise-client-urls', url(i, 0),
        '--listen-peer-urls', url(i, 1), '--initial-advertise-peer-urls', url(i, 1),
        '--initial-cluster', cluster, '--initial-cluster-state', 'new',
        // More than a long run writes; the default would stop it.
        '--quota-backend-bytes', String(8 * 1024 ** 3), '--logger', 'zap', '--log-level', 'fatal',
      ] // prettier-ignore
      return { args, place, client: { host: place.host, port: ports[2 * i] as number }, process: undefined }
    })
    const all = new EtcdProcesses(members)
    for (const id of all.ids) all.run(id)
    await all.leader()
    return all
  }

  get ids(): number[] {
    return this.#members.map((_, i) => i + 1)
  }

  run(id: number): void {
    const m = this.#member(id)
    const line = ['etcd', ...m.args]
    const [command = '', ...args] = m.place.inside ? m.place.inside(line) : line
    m.process = spawn(command, args, { stdio: 'ignore' })
  }

  address(id: number): Address {
    return this.#member(id).client
  }

  /** The leader that all running members know. */
  leader(): Promise<number> {
    return until('a leader of etcd', async () => {
      const running = this.ids.filter((id) => this.#isRunning(id))
      const all = await Promise.all(running.map((id) => this.#status(id)))
      const leader = all.find((s) => s && s.self === s.leader)
      return leader !== undefined && all.every((s) => s?.leader === leader.leader) && leader.id
    })
  }

  async #status(id: number): Promise<{ id: number; self: string; leader: string } | undefined> {
    const { host, port } = this.address(id)
    const args = [
      '--endpoints',
      `${host}:${port}`,
      '--command-timeout',
      '2s',
      'endpoint',
      'status',
      '-w',
      'json',
    ]
    const found = await exec('etcdctl', args).catch(() => undefined)
    // Ids are 64 bits, more than a number of JSON holds.
    const text = found?.stdout ?? ''
    const field = (name: string) => new RegExp(`"${name}":(\\d+)`).exec(text)?.[1]
    const self = field('member_id')
    const leader = field('leader')
    return self !== undefined && leader !== undefined ? { id, self, leader } : undefined
  }

  /** What its own tool reaches: 500 clients, paced at 8,000 writes a second, for a minute. */
  async checkPerf(): Promise<number> {
    const endpoints = this.ids.map((id) => `${this.address(id).host}:${this.address(id).port}`).join()
    const args = ['--endpoints', endpoints, 'check', 'perf', '--load=l']
    // It exits with 1 when it finds etcd too slow for that load.
    const { stdout } = await exec('etcdctl', args, { timeout: 120_000 }).catch(
      (e: unknown) => e as { stdout: string },
    )
    return Number(/(\d+) writes\/s/.exec(stdout ?? '')?.[1] ?? 0)
  }

  async cpuMicros(id: number): Promise<number> {
    const stat = await readFile(`/proc/${this.#member(id).process?.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * MICROS_PER_TICK
  }

  async kill(id: number): Promise<void> {
    const child = this.#member(id).process
    if (!child || !this.#isRunning(id)) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  async stop(): Promise<void> {
    for (const id of this.ids) await this.kill(id)
  }

  #member(id: number): Member {
    const member = this.#members[id - 1]
    if (!member) throw new Error(`there is no member ${id}`)
    return member
  }

  #isRunning(id: number): boolean {
    const child = this.#member(id).process
    return child !== undefined && child.exitCode === null && child.signalCode === null
  }
}
