import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { link, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { ProblemError } from '../../../contract/index.ts'
import { hasCode } from './files.ts'

/** Who holds a folder. A pid alone comes round again; with the boot and the process's start time it is one process. */
interface Holder {
  readonly pid: number
  readonly started: string
}

/**
 * One process at a time; the answer gives the lock back. Locks are numbered files, `PATH.1`, `PATH.2` …: the highest
 * counts, whoever finds its holder gone makes the next one, and a file is removed only under a higher one. So of many
 * that find the same dead holder exactly one wins, which deleting and making anew cannot give.
 */
export async function lockFolder(path: string): Promise<() => Promise<void>> {
  const draft = `${path}-${randomBytes(6).toString('hex')}.tmp`
  const mine = JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Holder)
  await writeFile(draft, mine, { flag: 'wx', mode: 0o600 })
  try {
    for (let tries = 0; tries < 10; tries++) {
      const last = Math.max(0, ...(await generations(path)))
      await checkGone(path, last)
      if (await take(draft, path, last + 1)) return () => release(path, last + 1)
    }
  } finally {
    await rm(draft, { force: true })
  }
  throw new FolderInUse(path, undefined)
}

async function take(draft: string, path: string, generation: number): Promise<boolean> {
  const own = `${path}.${generation}`
  try {
    // Linking, unlike creating and then writing, never shows others an empty lock.
    await link(draft, own)
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    throw error
  }
  const all = await generations(path)
  const won = Math.max(...all) === generation
  // When we were slow, others have come and gone, and ours is one of the removed numbers again.
  for (const one of won ? all.filter((other) => other < generation) : [generation])
    await rm(`${path}.${one}`, { force: true })
  return won
}

/** The file stays, without a holder: numbers must not begin again while somebody still counts on the last one. */
async function release(path: string, generation: number): Promise<void> {
  const draft = `${path}-${randomBytes(6).toString('hex')}.tmp`
  await writeFile(draft, '', { flag: 'wx', mode: 0o600 })
  await rename(draft, `${path}.${generation}`)
}

async function checkGone(path: string, generation: number): Promise<void> {
  const text = await readFile(`${path}.${generation}`, 'utf8').catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error
  })
  const holder = parse(text ?? '')
  if (holder && startOf(holder.pid) === holder.started) throw new FolderInUse(path, holder.pid)
}

async function generations(path: string): Promise<number[]> {
  const prefix = `${basename(path)}.`
  const names = await readdir(dirname(path))
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .filter((rest) => /^[1-9][0-9]*$/.test(rest))
    .map(Number)
}

/** Its agent runs. */
export class FolderInUse extends ProblemError {
  constructor(path: string, pid: number | undefined) {
    super(
      'conflict',
      `the data folder is in use by another agent${pid ? ` (pid ${pid})` : ''}: ${dirname(path)}`,
      { hint: 'Stop that agent first, or give this one a folder of its own with --data.' },
    )
  }
}

/** Undefined for a released lock, and for one that a crash of the whole machine left unwritten. */
function parse(text: string): Holder | undefined {
  try {
    const { pid, started } = JSON.parse(text) as Partial<Holder>
    return typeof pid === 'number' && typeof started === 'string' ? { pid, started } : undefined
  } catch {
    return undefined
  }
}

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
