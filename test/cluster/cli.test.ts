import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findNode } from '../../cli/node24.js'
import { type Agent, eventually, Lab, password } from './lab.ts'

const entry = fileURLToPath(new URL('../../cli/index.ts', import.meta.url))

describe('the submarine command on a real cluster', () => {
  let lab: Lab
  let folder: string
  beforeAll(async () => {
    lab = await Lab.start()
    folder = join(lab.folder, 'project')
    await mkdir(join(folder, 'data'), { recursive: true })
    await writeFile(join(folder, 'main.sh'), 'cat data/words.txt\ncat secret.txt\n')
    await writeFile(join(folder, 'data', 'words.txt'), 'from a subfolder\n')
    await writeFile(join(folder, 'secret.txt'), 'not for the cluster\n')
    await writeFile(join(folder, '.submarineignore'), 'secret.txt\n')
  })
  afterAll(() => lab.stop())

  function start(args: string[]): ChildProcess {
    const env = { ...process.env, SUBMARINE_CONFIG: join(lab.folder, 'config.json'), NO_COLOR: '1' }
    return spawn(findNode(), [entry, ...args], { cwd: folder, env, stdio: ['pipe', 'pipe', 'pipe'] })
  }

  async function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    const child = start(args)
    child.stdin?.end(`${password}\n`)
    const [out, err] = await Promise.all([
      child.stdout ? text(child.stdout) : '',
      child.stderr ? text(child.stderr) : '',
      once(child, 'close'),
    ])
    return { code: child.exitCode, out, err }
  }

  async function login(agent: Agent): Promise<void> {
    const { code, err } = await run('login', agent.url, '--user', 'admin', '--password-stdin')
    expect(code, err).toBe(0)
  }

  it('uploads the folder without what is ignored, prints its log, and exits as the task did', async () => {
    await login(await lab.leader())
    const { code, out } = await run('run', '--cpu', '0.5', '--memory', '64Mi', '--', 'sh', 'main.sh')
    expect(out).toBe('from a subfolder\n')
    expect(code).toBe(1)
  })

  it('refuses a bad spec at the line where it stands', async () => {
    await writeFile(join(folder, 'bad.yaml'), 'name: bad\ncommand: "true"\nresources:\n  cpu: -1\n')
    const { code, err } = await run('experiment', 'submit', '-f', 'bad.yaml')
    expect(code).toBe(2)
    expect(err).toContain('bad.yaml:4')
    expect(err).toContain('expected cores')
  })

  it('goes on through another agent when the leader it talks to is killed, and loses no line', async () => {
    const leader = await lab.leader()
    await login(leader)
    // The first host with room gets the task: not the leader's, whose death would hold up the log.
    if (leader === lab.agents[0]) {
      const filler = await lab.submit({
        name: 'filler',
        command: 'sleep 600',
        resources: 'cpu=2, memory=64Mi',
      })
      await lab.until(filler.id, ({ state }) => state === 'Running')
    }
    const script = 'i=1; while [ $i -le 80 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 4'
    const child = start([
      'run',
      '--no-upload',
      '--name',
      'followed',
      '--cpu',
      '0.5',
      '--memory',
      '64Mi',
      '--',
      'sh',
      '-c',
      script,
    ])
    let out = ''
    child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
    await eventually('some lines', () => out.split('\n').length > 5)
    const closed = once(child, 'close')
    await leader.kill()
    const [code] = (await closed) as [number]
    expect(out).toBe(Array.from({ length: 80 }, (_, at) => `${at + 1}\n`).join(''))
    expect(code).toBe(4)
    await leader.start()
    expect((await lab.client().call('experiments.list', { query: { name: 'followed' } })).items).toHaveLength(
      1,
    )
  })

  it('brings the files back as they were', async () => {
    const { id } = await lab.submit({
      name: 'files',
      command: 'mkdir -p $SUBMARINE_OUTPUT/a; echo one > "$SUBMARINE_OUTPUT/a/with space %41.txt"',
      resources: 'cpu=0.5, memory=64Mi',
    })
    await lab.ended(id)
    const { code, err } = await run('experiment', 'artifacts', id, '--download', 'results')
    expect(code, err).toBe(0)
    const found = await readFile(join(folder, 'results', 'a', 'with space %41.txt'), 'utf8')
    expect(found).toBe('one\n')
    await rm(join(folder, 'results'), { recursive: true })
  })
})
