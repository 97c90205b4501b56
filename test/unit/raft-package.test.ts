import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packageRaft } from '../../raft/package.ts'

const modules = path.resolve(import.meta.dirname, '../../node_modules')
const programs = path.join(import.meta.dirname, 'raft-package')
const files = ['three-nodes.js', 'one-member.js']

let dir: string
let tarball: string
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'submarine-raft-'))
  tarball = await packageRaft(dir)
  // Its own folder, far from this repository's packages: what the manifest does not name is not there.
  await writeFile(path.join(dir, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  await run('npm', ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', tarball])
  for (const file of files) await copyFile(path.join(programs, file), path.join(dir, file))
}, 120_000)
afterAll(() => rm(dir, { recursive: true, force: true }))

interface Ended {
  readonly code: number | string | null | undefined
  readonly out: string
}

/** Rejects for any other end than the expected one, with what was printed. */
function run(command: string, args: readonly string[], expected: Ended['code'] = 0): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd: dir }, (error, stdout, stderr) => {
      const code = error ? (error.signal ?? error.code) : 0
      if (code === expected) resolve(stdout)
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}:\n${stdout}\n${stderr}`))
    })
  })
}

const lib = () => path.join(dir, 'node_modules/submarine-raft')

describe('the package submarine-raft', () => {
  test('holds the library, its declarations, its README and licence, and no tests', async () => {
    const names = (await readdir(lib(), { recursive: true })).sort()
    expect(names).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'lib/index.d.ts', 'lib/index.js']))
    expect(names.filter((name) => /test|package\.(js|d\.ts)$/.test(name))).toEqual([])
    const manifest = JSON.parse(await readFile(path.join(lib(), 'package.json'), 'utf8')) as object
    expect(manifest).toMatchObject({
      name: 'submarine-raft',
      license: 'Apache-2.0',
      types: './lib/index.d.ts',
    })
    expect(manifest).toMatchObject({ dependencies: { level: expect.stringMatching(/^\d+\.\d+\.\d+$/) } })
  })

  test('the same source gives the same bytes', async () => {
    const again = await packageRaft(path.join(dir, 'again'))
    expect((await readFile(again)).equals(await readFile(tarball))).toBe(true)
  })

  test('three cores in memory elect a leader and commit', async () => {
    expect(await run(process.execPath, ['three-nodes.js'])).toMatch(/^leader [123] committed \d+\n$/)
  })

  test('a driver on a real store keeps acknowledged writes over kill -9', async () => {
    const wrote = await run(process.execPath, ['one-member.js', dir, 'create', 'a', 'b'], 'SIGKILL')
    expect(JSON.parse(wrote)).toEqual(['a', 'b'])
    const found = await run(process.execPath, ['one-member.js', dir, 'open', 'c'])
    expect(JSON.parse(found)).toEqual(['a', 'b', 'c'])
  })

  test('the program in its README runs as it stands there, and again on what it left', async () => {
    await writeFile(path.join(dir, 'readme.mts'), await readmeProgram())
    const lines = async (...args: string[]) => (await run(process.execPath, ['readme.mts', ...args])).trim()
    expect(await lines('--create')).toMatch(/^\d+ 5 5$/)
    expect(await lines()).toMatch(/^\d+ 10 10$/)
  })

  test('compiles strictly against its declarations, and is refused where it is used wrongly', async () => {
    await mkdir(path.join(dir, 'node_modules/@types'), { recursive: true })
    for (const name of ['@types/node', 'undici-types'])
      await symlink(path.join(modules, name), path.join(dir, 'node_modules', name))
    await writeFile(path.join(dir, 'consumer.ts'), CONSUMER)
    await writeFile(path.join(dir, 'readme.ts'), await readmeProgram())
    const tsc = path.join(modules, 'typescript/bin/tsc')
    const strict = [
      '--ignoreConfig',
      '--noEmit',
      '--strict',
      '--target',
      'es2024',
      '--lib',
      'es2024',
      '--types',
      'node',
    ]
    for (const [module, resolution] of [
      ['nodenext', 'nodenext'],
      ['esnext', 'bundler'],
    ] as const)
      await run(process.execPath, [
        ...[tsc, ...strict, '--module', module, '--moduleResolution', resolution],
        'consumer.ts',
        'readme.ts',
      ])
  }, 180_000)
})

async function readmeProgram(): Promise<string> {
  const readme = await readFile(path.join(lib(), 'README.md'), 'utf8')
  return /```ts\n([^]*?)```/.exec(readme)?.[1] ?? ''
}

// The lines that must not compile show that the types have not become `any` on the way.
const CONSUMER = `
import {
  EMPTY_CONF, MemoryStore, RaftDriver, RaftNode, StoreError, defaultRaftConfig,
  type Applied, type LogStore, type Message, type Ready, type SessionRow, type StateMachine, type Transport,
} from 'submarine-raft'

class Counter implements StateMachine {
  applied = 0
  count = 0
  async sessions(): Promise<SessionRow[]> { return [] }
  apply(entry: Applied): Uint8Array {
    this.count += entry.data.length
    return new Uint8Array([this.count])
  }
  async flush(applied: number, rows: readonly SessionRow[], sync: boolean): Promise<void> {}
  snapshot() {
    async function* data() { yield new Uint8Array([1]) }
    return { index: this.applied, data: data() }
  }
  async restore(index: number, rows: readonly SessionRow[], data: AsyncIterable<Uint8Array>): Promise<void> {}
}

const transport: Transport = {
  send(messages: readonly Message[]) {
    for (const m of messages) if (m.type === 'append') m.entries.length.toFixed()
  },
  onMessage(f) {},
  async sendSnapshot(m, data) { for await (const chunk of data(0)) chunk.byteLength.toFixed() },
  onSnapshot(f) {},
}

export async function main(store: LogStore): Promise<string> {
  const driver = await RaftDriver.open({ id: 1, store, transport, stateMachine: new Counter(), onFatal: (e: Error) => {} })
  const { index, result } = await driver.propose(new Uint8Array([1]))
  const node = new RaftNode({ ...defaultRaftConfig, id: 1, applied: 1 }, new MemoryStore(EMPTY_CONF), () => 0)
  const ready: Ready = node.ready()
  const error = new StoreError('corrupt', 'x')
  // @ts-expect-error a command is bytes
  await driver.propose('text')
  // @ts-expect-error there is no such code
  new StoreError('nonsense', 'x')
  // @ts-expect-error a Ready is not to be changed
  ready.entries.push()
  // @ts-expect-error an index is a number
  const wrong: string = index
  return [index.toFixed(), result.byteLength.toFixed(), error.code, wrong].join()
}
`
