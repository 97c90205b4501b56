import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LogRecord } from '../../store/store.ts'
import { resources } from '../doubles.ts'
import { LogCursor } from '../log/cursor.ts'
import type { Found, Launch } from '../runtime.ts'
import { filesIn } from './folder.ts'
import { bootId, identify, isAlive, parseStat } from './proc.ts'
import { ProcessRuntime } from './runtime.ts'

describe('a process', () => {
  test('is told from a later one with its pid by its start', () => {
    const id = identify(process.pid)
    expect(id && isAlive(id)).toBe(true)
    expect(isAlive({ pid: process.pid, start: '1' })).toBe(false)
    expect(identify(2 ** 22 + 1)).toBeUndefined()
  })
  test('is read right whatever its name', () => {
    const rest = `S 1 ${'0 '.repeat(17)}4711 99`
    expect(parseStat(`42 (a) b (c)) ${rest}`)).toEqual({ pid: 42, start: '4711' })
    expect(parseStat(`42 (x) Z 1 ${'0 '.repeat(17)}4711 99`)).toBeUndefined()
  })
})

let root: string
let folder: string
const ours: Found[] = []
beforeEach(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'process-'))
  folder = path.join(root, 'processes')
  for (const name of ['code', 'output']) await mkdir(path.join(root, name))
})
afterEach(async () => {
  const runtime = new ProcessRuntime({ folder })
  for (const found of ours.splice(0)) await runtime.stop(found, 0).then(() => runtime.remove(found))
  await rm(root, { recursive: true })
})

function launch(script: string, change: Partial<Launch> = {}): Launch {
  return {
    task: 'exp-1-worker-0',
    attempt: 1,
    workload: 'exp-1',
    image: null,
    command: ['sh', '-c', script],
    env: {},
    resources,
    gpus: [],
    person: { name: 'ana', uid: 20_007 },
    asks: {},
    codeFolder: path.join(root, 'code'),
    outputFolder: path.join(root, 'output'),
    ownFolder: path.join(root, 'own'),
    caFile: null,
    ...change,
  }
}

async function start(script: string, change: Partial<Launch> = {}) {
  const runtime = new ProcessRuntime({ folder })
  const found = await runtime.start(launch(script, change))
  ours.push(found)
  return { runtime, found }
}

const never = new AbortController().signal
async function logOf(runtime: ProcessRuntime, found: Found): Promise<LogRecord[]> {
  return Array.fromAsync(runtime.log(found, null, never))
}

/** Lines of a log as they come. */
async function untilLine(runtime: ProcessRuntime, found: Found, line: string): Promise<LogRecord[]> {
  const seen: LogRecord[] = []
  for await (const record of runtime.log(found, null, never)) {
    seen.push(record)
    if (record.l === line) return seen
  }
  throw new Error(`it ended without the line ${line}: ${JSON.stringify(seen)}`)
}

test('a command runs in its code folder and its exit code, output and log are there', async () => {
  await writeFile(path.join(root, 'code', 'words.txt'), 'from the code folder\n')
  const { runtime, found } = await start(
    'cat words.txt; echo "$GREETING" >&2; echo kept > "$SUBMARINE_OUTPUT/file"; exit 3',
    { env: { GREETING: 'hello' } },
  )
  expect(await runtime.wait(found, never)).toMatchObject({ exitCode: 3, oomKilled: false, failure: null })
  const records = await logOf(runtime, found)
  expect(records.map(({ s, l }) => `${s} ${l}`).toSorted()).toEqual(['e hello', 'o from the code folder'])
  expect(await readFile(path.join(root, 'output', 'file'), 'utf8')).toBe('kept\n')
  await runtime.remove(found)
  expect(await readdir(folder)).toEqual([])
  expect(await runtime.list()).toEqual([])
})

test('of the agent’s environment a task sees its search path and nothing else', async () => {
  process.env['AGENT_SECRET'] = 'x'
  const { runtime, found } = await start('env', {
    env: { A: '1', CUDA_VISIBLE_DEVICES: '0,1', hip_visible_devices: '3' },
    caFile: '/ca.pem',
    gpus: ['GPU-a'],
  })
  const lines = (await logOf(runtime, found)).map(({ l }) => l)
  const names = lines
    .map((line) => line.split('=')[0])
    .filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name ?? ''))
  delete process.env['AGENT_SECRET']
  expect(names.toSorted()).toEqual([
    'A',
    'CUDA_VISIBLE_DEVICES',
    'HIP_VISIBLE_DEVICES',
    'HOME',
    'LANG',
    'NVIDIA_VISIBLE_DEVICES',
    'PATH',
    'PYTHONUNBUFFERED',
    'ROCR_VISIBLE_DEVICES',
    'SUBMARINE_CA',
    'SUBMARINE_OUTPUT',
  ])
  expect(lines).toContain('CUDA_VISIBLE_DEVICES=GPU-a')
})

test('a command that is not there cannot start, and it is said what is missing', async () => {
  const runtime = new ProcessRuntime({ folder })
  const starting = runtime.start(launch('', { command: ['no-such-program', '--flag'] }))
  await expect(starting).rejects.toMatchObject({ code: 'start_failed' })
  await expect(starting).rejects.toThrow('no program "no-such-program"')
  expect(await runtime.list()).toEqual([])
})

test('starting it again starts nothing again', async () => {
  const script = 'echo started >> count; echo up; sleep 60'
  const { runtime, found } = await start(script)
  await untilLine(runtime, found, 'up')
  const again = await Promise.all([1, 2, 3].map(() => new ProcessRuntime({ folder }).start(launch(script))))
  for (const one of again) expect(one).toEqual(found)
  expect(await readFile(path.join(root, 'code', 'count'), 'utf8')).toBe('started\n')
})

test('of several shims for one attempt, as agents killed at its start can leave, one runs it', async () => {
  const handle = path.join(folder, 'exp-1-worker-0.1')
  await mkdir(handle, { recursive: true })
  const script = 'echo started >> count; until [ -e go ]; do sleep 0.05; done'
  const { task, attempt, command, codeFolder: cwd } = launch(script)
  const env = { PATH: process.env['PATH'] ?? '' }
  await writeFile(filesIn(handle).launch, JSON.stringify({ task, attempt, command, cwd, env }))
  const shims = Array.from({ length: 4 }, () =>
    spawn(process.execPath, [path.join(import.meta.dirname, 'shim.ts'), handle], { stdio: 'inherit' }),
  )
  const codes = shims.map(async (shim) => (await once(shim, 'exit'))[0] as number)
  const { runtime, found } = await start(script)
  await writeFile(path.join(root, 'code', 'go'), '')
  expect((await runtime.wait(found, never)).exitCode).toBe(0)
  expect(await Promise.all(codes)).toEqual([0, 0, 0, 0])
  expect(await readFile(path.join(root, 'code', 'count'), 'utf8')).toBe('started\n')
})

test('a task outlives its killed agent, and the next one takes it over', async () => {
  const agent = path.join(root, 'agent.ts')
  const module = JSON.stringify(path.join(import.meta.dirname, 'runtime.ts'))
  const script = 'echo one; until [ -e go ]; do sleep 0.05; done; echo two; exit 9'
  await writeFile(
    agent,
    `import { ProcessRuntime } from ${module}
     const runtime = new ProcessRuntime({ folder: ${JSON.stringify(folder)} })
     await runtime.start(${JSON.stringify(launch(script))})
     console.log('started')
     setInterval(() => undefined, 1000)`,
  )
  const child = spawn(process.execPath, [agent], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')

  const runtime = new ProcessRuntime({ folder })
  const [found] = await runtime.list()
  if (!found) throw new Error('nothing is left of it')
  ours.push(found)
  expect(found).toMatchObject({ task: 'exp-1-worker-0', attempt: 1, exit: null })
  const before = await untilLine(runtime, found, 'one')
  await writeFile(path.join(root, 'code', 'go'), '')
  expect((await runtime.wait(found, never)).exitCode).toBe(9)

  const resume = LogCursor.after(
    before.map(({ t }) => t),
    true,
  ).resume()
  const after = await Array.fromAsync(runtime.log(found, resume, never))
  expect([...before, ...after].map(({ l }) => l)).toEqual(['one', 'two'])
  expect((await new ProcessRuntime({ folder }).list())[0]?.exit?.exitCode).toBe(9)
})

test('stopping asks first: a task that listens may end in order', async () => {
  const { runtime, found } = await start('trap "echo bye; exit 0" TERM; echo up; while :; do :; done')
  await untilLine(runtime, found, 'up')
  await runtime.stop(found, 60)
  expect((await runtime.wait(found, never)).exitCode).toBe(0)
  expect((await logOf(runtime, found)).map(({ l }) => l)).toEqual(['up', 'bye'])
})

test('a task that does not listen is killed after its grace, with all it started', async () => {
  const { runtime, found } = await start(
    'trap "" TERM; (trap "" TERM; echo inner $$; while :; do sleep 0.05; done) & echo up; while :; do sleep 0.05; done',
  )
  await untilLine(runtime, found, 'up')
  const began = Date.now()
  await runtime.stop(found, 1)
  expect(Date.now() - began).toBeGreaterThanOrEqual(1000)
  expect((await runtime.wait(found, never)).exitCode).toBe(137)
  const leader = JSON.parse(await readFile(filesIn(found.handle).running, 'utf8')) as {
    leader: { pid: number }
  }
  expect(await membersOf(leader.leader.pid)).toEqual([])
})

async function membersOf(group: number): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ps', ['-e', '-o', 'pgid=,stat=,args='])
  return stdout.split('\n').filter((line) => Number.parseInt(line, 10) === group && !/^\s*\d+\s+Z/.test(line))
}

test('what a command leaves behind ends with it and does not hold its log open', async () => {
  const { runtime, found } = await start('sleep 3600 & echo $!; exit 0')
  expect((await runtime.wait(found, never)).exitCode).toBe(0)
  const [record] = await logOf(runtime, found)
  const left = identify(Number(record?.l))
  expect(left).toBeUndefined()
})

test('when its watcher is killed the task ends, and is lost', async () => {
  const { runtime, found } = await start('echo up; sleep 3600')
  await untilLine(runtime, found, 'up')
  const claim = JSON.parse(await readFile(filesIn(found.handle).claim, 'utf8')) as { shim: { pid: number } }
  const running = JSON.parse(await readFile(filesIn(found.handle).running, 'utf8')) as {
    leader: { pid: number; start: string }
  }
  process.kill(claim.shim.pid, 'SIGKILL')
  expect((await runtime.wait(found, never)).failure?.code).toBe('container_lost')
  while (isAlive(running.leader)) await new Promise((resolve) => setTimeout(resolve, 5))
})

test('what ran before the host was started again is known to be over', async () => {
  const { runtime, found } = await start('true')
  await runtime.wait(found, never)
  const files = filesIn(found.handle)
  await rm(files.exit)
  const claim = JSON.parse(await readFile(files.claim, 'utf8')) as { bootId: string }
  expect(claim.bootId).toBe(bootId())
  await writeFile(files.claim, JSON.stringify({ ...claim, bootId: 'another' }))
  expect((await runtime.list())[0]?.exit?.failure?.code).toBe('host_restarted')
})

test('many lines from both streams come whole and with rising times, whoever reads', async () => {
  const { runtime, found } = await start('seq 20000; seq 20000 >&2; printf "no end"')
  const records = await logOf(runtime, found)
  expect(records.filter(({ s }) => s === 'o').map(({ l }) => l)).toEqual([
    ...Array.from({ length: 20_000 }, (_, i) => String(i + 1)),
    'no end',
  ])
  expect(records.filter(({ s }) => s === 'e')).toHaveLength(20_000)
  expect(records.map(({ t }) => t)).toEqual([...new Set(records.map(({ t }) => t))].toSorted())
})

test('a wait and a log that nobody needs any more end', async () => {
  const { runtime, found } = await start('sleep 3600')
  const over = new AbortController()
  const waiting = runtime.wait(found, over.signal)
  const reading = Array.fromAsync(runtime.log(found, null, over.signal))
  const both = Promise.allSettled([waiting, reading])
  over.abort()
  expect(await both).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }])
})
