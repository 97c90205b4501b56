import { readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Experiment } from '../contract/objects.ts'
import { formatFingerprint } from './connection/trust.ts'
import { runCli, signedInCluster, startCli } from './testing/run-cli.ts'

const spec = { name: 'train', command: 'true' }
type Signed = Awaited<ReturnType<typeof signedInCluster>>
let at: Signed

beforeEach(async () => {
  at = await signedInCluster(2)
})
afterEach(() => at.remove())
const cli = (...args: string[]) => runCli(args, { env: at.env, cwd: at.folder })
const first = () => {
  const [agent] = at.cluster.agents
  if (!agent) throw new Error('no agent')
  return agent
}

describe('a backup', () => {
  it('is refused in words before anything is asked for, where its folder or the passphrase is missing', async () => {
    const nowhere = await cli('cluster', 'backup', 'none/lab.backup', '--passphrase-file', 'pass')
    expect(nowhere).toMatchObject({ code: 2 })
    expect(nowhere.stderr).toContain(`there is no folder ${path.join(at.folder, 'none')}\n`)
    const noPass = await cli('cluster', 'backup', 'lab.backup', '--passphrase-file', 'pass')
    expect(noPass).toMatchObject({ code: 2 })
    expect(noPass.stderr).toContain('there is no passphrase file pass\n')
  })
})

describe('signing in', () => {
  const login = (args: string[], input = 'right\n') =>
    runCli(['login', first().origin, '--password-stdin', ...args], {
      env: { SUBMARINE_CONFIG: path.join(at.folder, 'new/config.json') },
      input,
    })
  const sha256 = () => at.cluster.authority?.sha256 ?? ''

  it('trusts a given fingerprint and keeps all agents, the CA and the token in a 0600 file', async () => {
    const done = await login(['--trust-fingerprint', formatFingerprint(sha256()), '-o', 'json'])
    expect(done).toMatchObject({ code: 0 })
    expect(JSON.parse(done.stdout)).toMatchObject({ name: 'lab', user: 'admin' })
    expect(done.stdout).not.toContain('token')
    const file = path.join(at.folder, 'new/config.json')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    const saved = JSON.parse(await readFile(file, 'utf8')) as { contexts: object[] }
    expect(saved.contexts[0]).toMatchObject({
      addresses: at.cluster.agents.map((a) => a.origin),
      ca: expect.stringContaining('BEGIN CERTIFICATE') as string,
      token: expect.any(String) as string,
    })
  })

  it('refuses another fingerprint before it sends a password', async () => {
    const done = await login(['--trust-fingerprint', 'ab'.repeat(32)])
    expect(done.code).toBe(4)
    expect(done.stderr).toContain('another fingerprint')
    expect(first().requests.map((r) => r.id)).toEqual(['ca.get'])
  })

  it('asks nobody without a terminal: it shows the fingerprint and says what to give', async () => {
    const done = await login([])
    expect(done.code).toBe(2)
    expect(done.stderr).toContain(formatFingerprint(sha256()))
    expect(done.stderr).toContain('--trust-fingerprint')
  })

  it('takes the CA from a file, and refuses the wrong password with code 4', async () => {
    const ca = path.join(at.folder, 'ca.pem')
    await writeFile(ca, at.cluster.authority?.ca ?? '')
    expect(await login(['--ca', ca])).toMatchObject({ code: 0 })
    const wrong = await login(['--ca', ca], 'wrong\n')
    expect(wrong).toMatchObject({ code: 4 })
    expect(wrong.stderr).toContain('hint: Check both')
  })

  it('refuses plain HTTP to another machine', async () => {
    const done = await cli('login', 'http://192.0.2.1:80', '--password-stdin')
    expect(done).toMatchObject({ code: 2 })
    expect(done.stderr).toContain('only for this machine')
  })

  it('forgets the token on logout', async () => {
    expect((await cli('logout')).code).toBe(0)
    expect((await readFile(at.config, 'utf8')).includes('known-token')).toBe(false)
    expect((await cli('node', 'list')).code).toBe(4)
  })

  it('lists contexts without their tokens and switches between them', async () => {
    const listed = await cli('context', 'list', '-o', 'yaml')
    expect(listed.stdout).toContain('name: lab')
    expect(listed.stdout).not.toContain('known-token')
    expect((await cli('context', 'use', 'lab')).code).toBe(0)
    expect((await cli('context', 'use', 'other')).code).toBe(2)
  })
})

describe('exit codes and output', () => {
  it('keeps data on stdout and messages on stderr', async () => {
    at.cluster.add(spec)
    const got = await cli('experiment', 'get', 'exp-1', '-o', 'json')
    expect(got).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(got.stdout)).toEqual(at.cluster.find('exp-1'))
    const missing = await cli('experiment', 'get', 'nothing')
    expect(missing).toMatchObject({ code: 3, stdout: '' })
    expect(missing.stderr).toMatch(/^error: .*nothing.*\nhint: /)
  })

  it.each([
    [['experiment', 'frobnicate'], 2],
    [['node', 'list', '-o', 'xml'], 2],
    [['run', '--cpu', 'many', '--', 'true'], 2],
    [['run', '--env', 'SUBMARINE_X=1', '--', 'true'], 2],
    [['experiment', 'logs', 'x', '--since', 'yesterday'], 2],
    [['agent', 'start'], 2],
    [['agent', 'start', '--data', 'd', '--create', '--join', 't'], 2],
    [['agent', 'start', '--data', 'd', '--advertise', 'nohost'], 2],
    [['agent', 'set-peer', '--data', 'd', 'node-1'], 2],
    [['--help'], 0],
    [['--version'], 0],
  ])('%j exits with %i', async (args, code) => {
    expect(await cli(...args)).toMatchObject({ code })
  })

  it('exits with 5 where a name has several experiments, and takes it where it has one', async () => {
    at.cluster.add(spec)
    expect((await cli('experiment', 'get', 'train')).code).toBe(0)
    at.cluster.add(spec)
    const got = await cli('experiment', 'get', 'train')
    expect(got.code).toBe(5)
    expect(got.stderr).toContain('2 experiments are named')
  })

  it('exits with 6 when no agent answers, and names those it tried', async () => {
    at.cluster.agents.forEach((agent) => agent.kill())
    const env = { ...at.env, SUBMARINE_PATIENCE_SECONDS: '0.5' }
    const done = await runCli(['node', 'list'], { env })
    expect(done.code).toBe(6)
    expect(done.stderr).toContain(at.context.addresses[1])
  })

  it('refuses an agent of another cluster', async () => {
    const other = await signedInCluster()
    const env = {
      ...at.env,
      SUBMARINE_ADDRESS: other.context.addresses[0] ?? '',
      SUBMARINE_TOKEN: 'known-token',
    }
    const ca = path.join(at.folder, 'ca.pem')
    await writeFile(ca, at.context.ca ?? '')
    const done = await runCli(['node', 'list'], { env: { ...env, SUBMARINE_CA: ca } })
    await other.remove()
    expect(done.code).toBe(6)
    expect(done.stderr).toContain('did not come from this cluster')
    expect(other.cluster.agents[0]?.requests).toEqual([])
  })

  it('prints tables without colour into a pipe', async () => {
    at.cluster.add(spec)
    const { stdout } = await cli('experiment', 'list')
    expect(stdout).toMatch(/^ID +NAME +STATE/)
    expect(stdout).toContain('process (no isolation)')
    expect(stdout).not.toContain('\u001b')
  })
})

describe('submit', () => {
  const submit = (text: string, ...more: string[]) =>
    runCli(['experiment', 'submit', '-f', '-', ...more], { env: at.env, input: text })

  it('answers every wrong field with its line', async () => {
    const done = await submit('name: train\ncommand: true\nresources:\n  memory: lots\n  speed: 9\n')
    expect(done.code).toBe(2)
    expect(done.stderr).toContain('stdin:4:11  /resources/memory')
    expect(done.stderr).toContain('stdin:5:10  /resources/speed')
    expect(first().requests).toEqual([])
  })

  it('answers broken YAML with line and column', async () => {
    const done = await submit('name: [train\ncommand: true\n')
    expect(done.code).toBe(2)
    expect(done.stderr).toMatch(/stdin:2:\d+/)
  })

  it('prints the id; with --wait ends as the task does', async () => {
    expect(await submit('name: a\ncommand: "true"\n')).toMatchObject({ code: 0, stdout: 'exp-1\n' })
    const waiting = startCli(['experiment', 'submit', '-f', '-', '--wait', '-o', 'json'], {
      env: at.env,
      input: 'name: b\ncommand: "exit 9"\n',
    })
    await waiting.saw('exp-2: Running')
    at.cluster.finish('exp-2', 'Failed', 9)
    const done = await waiting.ended
    expect(done.code).toBe(9)
    expect((JSON.parse(done.stdout) as Experiment).state).toBe('Failed')
  })

  it('waits no longer than told, and leaves the experiment alone', async () => {
    const done = await submit('name: a\ncommand: "true"\n', '--wait-timeout', '1s')
    expect(done.code).toBe(124)
    expect(done.stderr).toContain('submarine experiment stop exp-1')
    expect(at.cluster.find('exp-1').state).toBe('Running')
  })

  it('makes one experiment of a POST whose agent dies before it answers', async () => {
    first().beforeAnswer = (asked, agent) => asked.id === 'experiments.create' && agent.kill()
    expect(await submit('name: a\ncommand: "true"\n')).toMatchObject({ code: 0, stdout: 'exp-1\n' })
    expect(at.cluster.experiments.size).toBe(1)
  })
})

describe('edit', () => {
  it('sets and takes away tags and the description, and shows them', async () => {
    at.cluster.add({ ...spec, tags: ['nightly'] })
    const edit = (...args: string[]) => cli('experiment', 'edit', 'exp-1', ...args)
    expect(await edit('--description', 'a good one', '--tag', 'lr=0.1', '--tag', 'note=a=b')).toMatchObject({
      code: 0,
      stdout: 'exp-1 edited\n',
    })
    expect((await cli('experiment', 'get', 'exp-1')).stdout).toMatch(
      /^description +a good one\ntags +nightly, lr=0\.1, note=a=b$/m,
    )
    await edit('--tag', 'lr=')
    const { stdout } = await cli('experiment', 'get', 'exp-1', '-o', 'json')
    expect(JSON.parse(stdout)).toMatchObject({ description: 'a good one', tags: { note: 'a=b' } })
    expect(await edit()).toMatchObject({ code: 2 })
    expect((await edit('--tag', '=x')).stderr).toContain('expected KEY=VALUE')
    expect(await cli('experiment', 'edit', 'exp-9', '--description', 'x')).toMatchObject({ code: 3 })
  })
})

describe('following', () => {
  it('goes on through another agent without losing or repeating a line', async () => {
    at.cluster.add(spec)
    const lines = Array.from({ length: 40 }, (_, i) => `line ${i}`)
    lines.slice(0, 20).forEach((line) => at.cluster.log('exp-1', line))
    first().dieAfterLines = 13
    const logs = startCli(['experiment', 'logs', '-f', 'exp-1'], { env: at.env })
    await logs.saw('line 19')
    lines.slice(20).forEach((line) => at.cluster.log('exp-1', line))
    at.cluster.finish('exp-1', 'Succeeded')
    expect(await logs.ended).toEqual({ code: 0, stdout: lines.join('\n') + '\n', stderr: '' })
    const resumed = at.cluster.agents[1]?.requests.filter((r) => r.id === 'experiments.logs')
    expect(resumed?.[0]?.query.get('offset')).not.toBeNull()
  })

  it('does so for several tasks at once, each line with its task', async () => {
    at.cluster.add({ ...spec, roles: { worker: { replicas: 2 } } })
    const both = (text: string) =>
      [0, 1].forEach((i) => at.cluster.log('exp-1', text, 'stdout', `exp-1-worker-${i}`))
    both('one')
    both('two')
    first().dieAfterLines = 3
    const logs = startCli(['experiment', 'logs', '-f', 'exp-1'], { env: at.env })
    await logs.saw('[worker-1] two')
    both('three')
    at.cluster.finish('exp-1', 'Succeeded')
    const expected = ['one', 'two', 'three'].flatMap((t) => [`[worker-0] ${t}`, `[worker-1] ${t}`])
    expect((await logs.ended).stdout.trim().split('\n').toSorted()).toEqual(expected.toSorted())
  })

  it('run uploads the folder once and ends with the task’s code', async () => {
    await writeFile(path.join(at.folder, 'train.py'), 'print(1)')
    const run = startCli(['run', '--env', 'A=1', '--cpu', '500m', '--', 'python', 'train.py', '--lr', '1'], {
      env: at.env,
      cwd: at.folder,
    })
    await run.saw('exp-1: Running')
    at.cluster.log('exp-1', 'hello')
    at.cluster.log('exp-1', 'oh', 'stderr')
    at.cluster.finish('exp-1', 'Failed', 3)
    const done = await run.ended
    expect(done).toMatchObject({ code: 3, stdout: 'hello\n' })
    expect(done.stderr).toContain('\noh\n')
    const made = at.cluster.find('exp-1')
    expect(made.spec.roles.worker).toMatchObject({
      command: ['python', 'train.py', '--lr', '1'],
      env: { A: '1' },
    })
    expect([...at.cluster.blobs.keys()]).toEqual([made.spec.code?.upload])
    const create = first().requests.find((r) => r.id === 'experiments.create')
    expect(create?.headers['idempotency-key']).toBeTruthy()
  })

  it('uploads again through another agent when the first dies during it', async () => {
    await writeFile(path.join(at.folder, 'data.bin'), Buffer.alloc(300_000, 7))
    first().beforeAnswer = (asked, agent) => asked.id === 'blobs.create' && agent.kill()
    const done = await runCli(['run', '--detach', '--', 'true'], { env: at.env, cwd: at.folder })
    expect(done).toMatchObject({ code: 0, stdout: 'exp-1\n' })
  })

  it('stops following at Ctrl-C and says how to stop the experiment', async () => {
    const run = startCli(['run', '--no-upload', '--', 'sleep', '9'], { env: at.env, cwd: at.folder })
    await run.saw('exp-1: Running')
    run.interrupt()
    const done = await run.ended
    expect(done.code).toBe(130)
    expect(done.stderr).toContain('submarine experiment stop exp-1')
    expect(at.cluster.find('exp-1').state).toBe('Running')
  })
})
