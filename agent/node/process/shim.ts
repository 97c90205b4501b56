// Runs one attempt's command and outlives the agent that started it: keeps its output with times, then how it ended.
// Its only argument is the attempt's folder. It must not need anything that changes when the agent is upgraded.
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import os from 'node:os'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { LineSplitter } from '../log/lines.ts'
import { rfc3339 } from '../log/time.ts'
import type { Exit } from '../runtime.ts'
import { type Claim, filesIn, type ProcessLaunch, type Running } from './folder.ts'
import { bootId, identify, signalGroup } from './proc.ts'

/** Beyond it output is read but no longer kept, so that a command that shouts cannot fill the disk. */
const maxLogBytes = 1024 ** 3
/** How long to wait for output after the command has ended: somebody it left behind may hold the pipe open. */
const drainMs = 2000

const files = filesIn(process.argv[2] ?? '')

// Stopping the agent, or closing its terminal, is not stopping the experiment.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

if (claim()) await run(JSON.parse(readFileSync(files.launch, 'utf8')) as ProcessLaunch)

/** Whoever makes the file runs the command: an agent that was killed may have started a shim before this one. */
function claim(): boolean {
  const shim = identify(process.pid)
  if (!shim) throw new Error('this system has no /proc')
  const mine: Claim = { shim, bootId: bootId() }
  try {
    writeFileSync(files.claim, JSON.stringify(mine), { flag: 'wx', mode: 0o600, flush: true })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function run(launch: ProcessLaunch): Promise<void> {
  const log = openLog()
  const startedAt = new Date().toISOString()
  const [program = '', ...words] = launch.command
  const child = spawn(program, words, {
    cwd: launch.cwd,
    env: launch.env,
    // A session of its own: stopping it means everything it started, and nothing else.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const drained = Promise.all([keep(child.stdout, 'o', log), keep(child.stderr, 'e', log)])
  const ended = ending(child)
  const leader = (child.pid === undefined ? undefined : identify(child.pid)) ?? null
  // What could not start never ran: whoever waits for its beginning must see the failure first.
  if (child.pid !== undefined) write(files.running, { leader, startedAt } satisfies Running)
  const exit = await ended
  // Like a container, whose processes end with the first one.
  if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL')
  await Promise.race([drained, delay(drainMs)])
  log.close()
  // A full disk empties again; until then there is no other place for this. A folder that is gone does not come back.
  while (!written(exit) && existsSync(files.launch)) await delay(1000)
  process.exit(0)
}

function ending(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    const end = (exitCode: number | null, failure: Exit['failure']) =>
      resolve({ exitCode, oomKilled: false, failure, finishedAt: new Date().toISOString() })
    child.once('error', (error) => end(null, { code: 'start_failed', message: reasonOf(error) }))
    child.once('exit', (code, signal) =>
      end(code ?? (signal ? 128 + os.constants.signals[signal] : null), null),
    )
  })
}

function reasonOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT')
    return `The command could not be started: there is no program "${error.path}" on this host's PATH. Install it, or run the experiment in a container.`
  return `The command could not be started: ${error.message}.`
}

async function keep(stream: Readable, source: 'o' | 'e', log: Log): Promise<void> {
  const splitter = new LineSplitter()
  try {
    for await (const chunk of stream)
      for (const line of splitter.push(chunk as Buffer)) log.write(source, line)
  } finally {
    for (const line of splitter.flush()) log.write(source, line)
  }
}

interface Log {
  write(source: 'o' | 'e', line: string): void
  close(): void
}

/** One JSON record a line, each with a later time than the one before it. */
function openLog(): Log {
  const fd = openSync(files.log, 'a', 0o600)
  const zero = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint()
  let last = 0n
  let bytes = 0
  const put = (s: 'o' | 'e', l: string) => {
    const now = zero + process.hrtime.bigint()
    last = now > last ? now : last + 1n
    const record = `${JSON.stringify({ t: rfc3339(last), s, l })}\n`
    bytes += Buffer.byteLength(record)
    try {
      writeSync(fd, record)
    } catch {
      // A full disk costs lines of the log, not the experiment.
    }
  }
  const write = (s: 'o' | 'e', l: string) => {
    if (bytes > maxLogBytes) return
    put(s, l)
    if (bytes > maxLogBytes) put('e', '[submarine] the log is longer than 1 GiB; what follows is not kept')
  }
  return { write, close: () => closeSync(fd) }
}

function written(exit: Exit): boolean {
  try {
    write(files.exit, exit)
    return true
  } catch {
    return false
  }
}

function write(file: string, value: unknown): void {
  const fd = openSync(`${file}.draft`, 'w', 0o600)
  try {
    writeSync(fd, JSON.stringify(value))
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(`${file}.draft`, file)
}
