import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { ProblemError } from '../../../contract/index.ts'
import { hasCode } from './files.ts'

/** Who holds a folder. A pid alone comes round again; with the boot and the process's start time it is one process. */
interface Holder {
  readonly pid: number
  readonly started: string
}

/** One process at a time. The lock of a process that is gone is taken over; the answer gives the lock back. */
export async function lockFolder(path: string): Promise<() => Promise<void>> {
  const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const mine = JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Holder)
  await writeFile(draft, mine, { flag: 'wx', mode: 0o600 })
  try {
    // Linking, unlike creating and then writing, never shows others an empty lock.
    for (let tries = 0; !(await linked(draft, path)); tries++) {
      if (tries === 5) throw inUse(path, undefined)
      await removeStale(path)
    }
  } finally {
    await rm(draft, { force: true })
  }
  return async () => {
    if ((await textOf(path)) === mine) await rm(path, { force: true })
  }
}

async function linked(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path)
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    throw error
  }
}

async function removeStale(path: string): Promise<void> {
  const found = await textOf(path)
  if (found === undefined) return
  const holder = parse(found)
  if (holder && isAlive(holder)) throw inUse(path, holder.pid)
  // Two may find the same stale lock: the rename decides, and the loser puts back what it took from the winner.
  const aside = `${path}.${randomBytes(6).toString('hex')}.stale`
  await rename(path, aside).catch(ignoreMissing)
  if ((await textOf(aside)) !== found) await link(aside, path).catch(() => undefined)
  await rm(aside, { force: true })
}

const inUse = (path: string, pid: number | undefined) =>
  new ProblemError(
    'conflict',
    `the data folder is in use by another agent${pid ? ` (pid ${pid})` : ''}: ${path}`,
    {
      hint: 'Stop that agent first, or give this one a folder of its own with --data.',
    },
  )

function parse(text: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { pid, started } = value as Partial<Holder>
    return typeof pid === 'number' && typeof started === 'string' ? { pid, started } : undefined
  } catch {
    // Only a crash of the whole machine can leave a lock unwritten, so its holder is gone.
    return undefined
  }
}

const isAlive = (holder: Holder): boolean => startOf(holder.pid) === holder.started

/** Boot id and start time (field 22 of /proc/PID/stat; the name before it may hold spaces); empty when there is no such process. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot}:${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''}`
  } catch {
    return ''
  }
}

const textOf = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(ignoreMissing)

function ignoreMissing(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT')) throw error
}
