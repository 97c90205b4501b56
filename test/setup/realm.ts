// A Kerberos realm of Debian's krb5-kdc, for tests: a process of its own in a folder of its own, on loopback.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

const realm = 'LAB.TEST'

export class TestRealm {
  readonly realm = realm
  readonly #folder: string
  readonly #port: number
  #process: ChildProcess | undefined

  private constructor(folder: string, port: number) {
    this.#folder = folder
    this.#port = port
  }

  static async start(): Promise<TestRealm> {
    const folder = await mkdtemp(path.join(tmpdir(), 'submarine-realm-'))
    const made = new TestRealm(folder, await freePort())
    await writeFile(path.join(folder, 'krb5.conf'), `[libdefaults]\n  default_realm = ${realm}\n  dns_lookup_kdc = false\n[realms]\n  ${realm} = {\n    kdc = ${made.kdc}\n  }\n`) // prettier-ignore
    await writeFile(path.join(folder, 'kdc.conf'), made.#configuration())
    made.#run('kdb5_util', ['create', '-s', '-r', realm, '-P', 'master'])
    await made.resume()
    return made
  }

  /** Where it answers. */
  get kdc(): string {
    return `127.0.0.1:${this.#port}`
  }

  /** Makes or changes somebody, in the words of kadmin. */
  admin(query: string): void {
    this.#run('kadmin.local', ['-r', realm, '-q', query])
  }

  /** Makes a new key, so that earlier keytabs of it are of no use any more. */
  async keytab(principal: string): Promise<Buffer> {
    const file = path.join(this.#folder, `${principal}.keytab`)
    await rm(file, { force: true })
    this.admin(`ktadd -k ${file} ${principal}`)
    return readFile(file)
  }

  /** Its server answers; `env` is more of its environment. */
  async resume(env: NodeJS.ProcessEnv = {}): Promise<void> {
    const args = ['-n', '-r', realm, '-P', path.join(this.#folder, 'pid')]
    const child = spawn('/usr/sbin/krb5kdc', args, { stdio: 'ignore', env: { ...this.#env(), ...env } })
    this.#process = child
    const deadline = performance.now() + 20_000
    while (!(await answers(this.#port))) {
      if (child.exitCode !== null) throw new Error(`krb5kdc ended with ${child.exitCode}`)
      if (performance.now() > deadline) throw new Error('krb5kdc does not answer')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Nobody answers; what it knows it keeps. */
  async pause(): Promise<void> {
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill()
    await gone
  }

  async stop(): Promise<void> {
    await this.pause()
    await rm(this.#folder, { recursive: true, force: true })
  }

  #run(program: string, args: readonly string[]): void {
    const { status, stderr } = spawnSync(`/usr/sbin/${program}`, args, { encoding: 'utf8', env: this.#env() })
    // kadmin.local ends with 0 whatever it was asked.
    const failed = stderr.split('\n').filter((line) => /while|error/i.test(line))
    if (status !== 0 || failed.length) throw new Error(`${program} ${args.join(' ')}: ${stderr}`)
  }

  #env(): NodeJS.ProcessEnv {
    const at = (name: string) => path.join(this.#folder, name)
    return { ...process.env, KRB5_CONFIG: at('krb5.conf'), KRB5_KDC_PROFILE: at('kdc.conf') }
  }

  #configuration(): string {
    return `[kdcdefaults]
  kdc_listen = ${this.kdc}
  kdc_tcp_listen = ${this.kdc}
[realms]
  ${realm} = {
    database_name = ${this.#folder}/principal
    key_stash_file = ${this.#folder}/stash
    acl_file = ${this.#folder}/acl
    max_life = 10h
  }
[logging]
  kdc = FILE:${this.#folder}/kdc.log
`
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await once(server.close(), 'close')
  return port
}

const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
