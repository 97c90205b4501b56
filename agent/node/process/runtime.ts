import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { chmod, mkdir, open, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Gpu, ticketFiles } from '../../../contract/index.ts'
import { shippedFiles } from '../../shipped-files.ts'
import type { LogRecord } from '../../store/store.ts'
import { absent, readJson, writeJson } from '../files.ts'
import { attemptKey } from '../key.ts'
import { skipKept } from '../log/cursor.ts'
import { type Exit, type Found, type Launch, type LogResume, type Runtime, StartFailure } from '../runtime.ts'
import { type Claim, filesIn, type ProcessLaunch, type Running } from './folder.ts'
import { ticketEnvironment } from '../task/ticket.ts'
import { type Vendor, visibleDevices, withoutDeviceVariables } from '../task/visible.ts'
import { bootId, isAlive, signalGroup } from './proc.ts'

export interface ProcessOptions {
  /** Holds a folder for each attempt. */
  readonly folder: string
  /** Program and first arguments that start the shim; default: this Node with shim.ts. */
  readonly shim?: readonly [string, ...string[]]
  /** The host's devices, to tell whose driver a task's are of. */
  readonly gpu?: (uuid: string) => Gpu | undefined
}

/** How often a change of another process is looked for, ms. */
const pollMs = 100
/** How long the shim may take to begin, ms: it is a small program, but the host may be busy. */
const beginMs = 30_000

/**
 * Attempts as plain processes of this host, without isolation: they run as the agent's own user, see its whole file
 * system, and nothing limits what they take. The command runs in the code folder; /code and /output do not exist, so
 * it must use relative paths and $SUBMARINE_OUTPUT.
 */
export class ProcessRuntime implements Runtime {
  readonly name = 'process'
  readonly #folder: string
  readonly #shim: readonly [string, ...string[]]

  readonly #gpu: NonNullable<ProcessOptions['gpu']>

  constructor({ folder, shim, gpu = () => undefined }: ProcessOptions) {
    this.#gpu = gpu
    this.#folder = folder
    this.#shim = shim ?? [process.execPath, shippedFiles.shim]
  }

  async start(launch: Launch): Promise<Found> {
    // What a process is started with is kept in a file.
    if (Object.keys(launch.secrets?.env ?? {}).length)
      throw new StartFailure(
        'secret_refused',
        'Without containers secrets are given as files only, in the folder $SUBMARINE_SECRETS.',
      )
    if (launch.secrets?.ticket) await chmod(path.join(launch.secrets.folder, ticketFiles.cache), 0o600)
    const handle = path.join(this.#folder, attemptKey(launch.task, launch.attempt))
    await mkdir(handle, { recursive: true, mode: 0o700 })
    const files = filesIn(handle)
    if (!(await readJson(files.launch)))
      await writeJson(files.launch, processLaunch(launch, this.#vendorOf(launch)))
    let found = await observe(handle, launch)
    if (found.startedAt === null && !found.exit) {
      this.#spawnShim(handle)
      found = await begun(handle, launch)
    }
    if (found.exit?.failure?.code === 'start_failed') {
      await rm(handle, { recursive: true, force: true })
      throw new StartFailure('start_failed', found.exit.failure.message)
    }
    return found
  }

  async list(): Promise<Found[]> {
    const names = (await readdir(this.#folder).catch(absent)) ?? []
    const all = names.map(async (name) => {
      const handle = path.join(this.#folder, name)
      const launch = (await readJson(filesIn(handle).launch).catch(() => undefined)) as
        ProcessLaunch | undefined
      return launch ? [await observe(handle, launch)] : []
    })
    return (await Promise.all(all)).flat()
  }

  async wait(found: Found, signal: AbortSignal): Promise<Exit> {
    for (;;) {
      const { exit } = await observe(found.handle, found)
      if (exit) return exit
      await delay(pollMs, undefined, { signal })
    }
  }

  async stop(found: Found, graceSeconds: number): Promise<void> {
    const killAt = Date.now() + graceSeconds * 1000
    let sent: NodeJS.Signals | undefined
    while (!(await observe(found.handle, found)).exit) {
      const signal = Date.now() >= killAt ? 'SIGKILL' : 'SIGTERM'
      if (sent !== signal && (await signalTask(found.handle, signal))) sent = signal
      await delay(pollMs)
    }
  }

  async remove(found: Found): Promise<void> {
    await signalTask(found.handle, 'SIGKILL')
    await rm(found.handle, { recursive: true, force: true })
  }

  async *log(found: Found, resume: LogResume | null, signal: AbortSignal): AsyncIterable<LogRecord> {
    const isNew = skipKept(resume)
    for await (const line of follow(found, signal)) {
      const record = parseRecord(line)
      if (record && isNew(record.t)) yield record
    }
  }

  #vendorOf({ gpus }: Launch): Vendor {
    return this.#gpu(gpus[0] ?? '')?.vendor ?? 'nvidia'
  }

  #spawnShim(handle: string): void {
    const [program, ...words] = this.#shim
    const errors = openSync(path.join(handle, 'shim.err'), 'a', 0o600)
    // No secrets of the agent's environment reach the shim, and so none the task.
    const env = { PATH: searchPath(), LANG: 'C.UTF-8' }
    const child = spawn(program, [...words, handle], {
      cwd: handle,
      env,
      detached: true,
      stdio: ['ignore', 'ignore', errors],
    })
    closeSync(errors)
    // Should it not start at all, `begun` says so in the end.
    child.on('error', () => undefined)
    child.unref()
  }
}

const searchPath = () => process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'

function processLaunch(launch: Launch, vendor: Vendor): ProcessLaunch {
  const { task, attempt, command, codeFolder, outputFolder, caFile, gpus, secrets } = launch
  return {
    task,
    attempt,
    command,
    cwd: codeFolder,
    env: {
      PATH: searchPath(),
      HOME: codeFolder,
      LANG: 'C.UTF-8',
      PYTHONUNBUFFERED: '1',
      ...withoutDeviceVariables(launch.env),
      // Nothing keeps a process from another task's GPUs, but programs that mean well look here.
      ...visibleDevices(gpus, vendor),
      SUBMARINE_OUTPUT: outputFolder,
      ...(secrets ? { SUBMARINE_SECRETS: secrets.folder } : {}),
      ...(secrets?.ticket ? ticketEnvironment(secrets.folder) : {}),
      ...(caFile ? { SUBMARINE_CA: caFile } : {}),
    },
  }
}

async function begun(handle: string, of: { task: string; attempt: number }): Promise<Found> {
  const deadline = Date.now() + beginMs
  for (;;) {
    const found = await observe(handle, of)
    if (found.startedAt !== null || found.exit) return found
    if (Date.now() > deadline)
      throw new Error(`nothing began in ${handle} within ${beginMs / 1000} s; see shim.err there`)
    await delay(20)
  }
}

/** What the files and the process table say of an attempt. */
async function observe(handle: string, of: { task: string; attempt: number }): Promise<Found> {
  const files = filesIn(handle)
  const exit = async () => ((await readJson(files.exit)) as Exit | undefined) ?? null
  const claim = (await readJson(files.claim).catch(() => undefined)) as Claim | undefined
  const running = (await readJson(files.running)) as Running | undefined
  const found = (ended: Exit | null): Found => ({
    task: of.task,
    attempt: of.attempt,
    handle,
    startedAt: running?.startedAt ?? null,
    exit: ended,
  })
  const ended = await exit()
  if (ended) return found(ended)
  if (!claim)
    return found((await readJson(files.launch)) ? null : lost('container_lost', 'Its files were removed.'))
  if (claim.bootId !== bootId()) return found(lost('host_restarted', 'The host was restarted while it ran.'))
  if (isAlive(claim.shim)) return found(null)
  // The shim may have ended in order between the two looks.
  return found((await exit()) ?? (await abandoned(handle)))
}

/** Nobody keeps its output or its end any more: what is left of it is ended, so that it cannot run on unseen. */
async function abandoned(handle: string): Promise<Exit> {
  await signalTask(handle, 'SIGKILL')
  return lost('container_lost', 'The process that watched over it was killed, and the task with it.')
}

function lost(code: string, message: string): Exit {
  return {
    exitCode: null,
    oomKilled: false,
    failure: { code, message },
    finishedAt: new Date().toISOString(),
  }
}

/** False when there is nothing to signal (yet). */
async function signalTask(handle: string, signal: NodeJS.Signals): Promise<boolean> {
  const running = (await readJson(filesIn(handle).running)) as Running | undefined
  return running?.leader && isAlive(running.leader) ? signalGroup(running.leader.pid, signal) : false
}

/** Lines of its log file, until it has ended and all are read. */
async function* follow(found: Found, signal: AbortSignal): AsyncGenerator<string> {
  const handle = await open(filesIn(found.handle).log, 'r').catch(absent)
  if (!handle) return
  try {
    const chunk = Buffer.alloc(256 * 1024)
    let rest = Buffer.alloc(0)
    for (let at = 0, ended = false; ;) {
      signal.throwIfAborted()
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, at)
      at += bytesRead
      rest = Buffer.concat([rest, chunk.subarray(0, bytesRead)])
      for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
        yield rest.toString('utf8', 0, end)
        rest = rest.subarray(end + 1)
      }
      if (bytesRead > 0) continue
      if (ended) return
      ended = (await observe(found.handle, found)).exit !== null
      if (!ended) await delay(pollMs, undefined, { signal })
    }
  } finally {
    await handle.close()
  }
}

/** A line cut short by a full disk or a killed shim is none. */
function parseRecord(line: string): LogRecord | undefined {
  try {
    return JSON.parse(line) as LogRecord
  } catch {
    return undefined
  }
}
