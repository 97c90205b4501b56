import { spawn } from 'node:child_process'
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { NoTicket, noTicket } from './failure.ts'

export interface TicketOptions {
  readonly principal: string
  readonly keytab: Buffer
  /** A krb5.conf. */
  readonly config: string
  /** In memory, and not there yet; what lies in it is the caller's to remove. */
  readonly folder: string
  /** Whose rights the programs have, where they can be given: not root's, for files and answers that others made. */
  readonly uid: number
  readonly limitMs?: number
  readonly programs?: Programs
}

/** MIT Kerberos, from the host's package krb5-user. */
export interface Programs {
  readonly kinit: string
  readonly klist: string
}
const ofTheHost: Programs = { kinit: 'kinit', klist: 'klist' }

export interface Ticket {
  /** A credential cache. */
  readonly file: string
  readonly expiresAt: number
}

/** A ticket for the key in a keytab, which is gone from the folder when this returns. Throws NoTicket. */
export async function getTicket(options: TicketOptions): Promise<Ticket> {
  const { principal, keytab, config, folder, uid, programs = ofTheHost } = options
  const owner = process.getuid?.() === 0 ? { uid, gid: uid } : undefined
  await mkdir(folder, { mode: 0o700 })
  const files = { keytab: path.join(folder, 'keytab'), config: path.join(folder, 'krb5.conf') }
  try {
    await writeFile(files.keytab, keytab, { flag: 'wx', mode: 0o400 })
    await writeFile(files.config, config, { flag: 'wx', mode: 0o400 })
    if (owner) for (const at of [files.keytab, files.config, folder]) await chown(at, owner.uid, owner.gid)
    // By names in its own folder: the user may not pass those above it.
    const run = (program: string, words: readonly string[]) =>
      output(program, words, { ...options, ...(owner ? { owner } : {}) })
    await run(programs.kinit, ['-k', '-t', 'FILE:keytab', '-c', 'FILE:ticket', principal])
    const listed = await run(programs.klist, ['-c', 'FILE:ticket'])
    const file = path.join(folder, 'ticket')
    await chmod(file, 0o600)
    return { file, expiresAt: expiryIn(listed, principal) }
  } finally {
    await rm(files.keytab, { force: true })
  }
}

interface Running extends Pick<TicketOptions, 'principal' | 'folder' | 'limitMs'> {
  readonly owner?: { readonly uid: number; readonly gid: number }
}

/** What it prints. Nothing of the agent's environment reaches it, and no word is asked of anybody. */
async function output(program: string, words: readonly string[], running: Running): Promise<string> {
  const { principal, folder, limitMs = 30_000, owner } = running
  const env = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    LC_ALL: 'C',
    TZ: 'UTC',
    KRB5_CONFIG: 'krb5.conf',
  }
  const limit = AbortSignal.timeout(limitMs)
  const child = spawn(program, words, {
    cwd: folder,
    env,
    ...owner,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: limit,
    killSignal: 'SIGKILL',
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const [code, out, err] = await Promise.all([ended, buffer(child.stdout), buffer(child.stderr)]).catch(
    (error: NodeJS.ErrnoException): never => {
      if (error.code === 'ENOENT')
        throw new NoTicket('kerberos_missing', `This node has no ${program}, so it can get no Kerberos ticket. Install the package krb5-user there.`) // prettier-ignore
      if (limit.aborted) throw noTicket('Cannot contact any KDC in time', principal)
      throw error
    },
  )
  if (code !== 0) throw noTicket(err.toString('utf8'), principal)
  return out.toString('utf8')
}

const line =
  /^(?<from>\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d) {2}(?<to>\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d) {2}krbtgt\//m

/** When the ticket for tickets ends, by klist in the C locale and UTC: `11/24/26 10:42:00  11/24/26 20:42:00  krbtgt/…`. */
export function expiryIn(listed: string, principal: string): number {
  const to = line.exec(listed)?.groups?.['to']
  const [month, day, year, time] = to?.split(/[/ ]/) ?? []
  const at = Date.parse(`20${year}-${month}-${day}T${time}Z`)
  if (Number.isNaN(at))
    throw new NoTicket(
      'kerberos_failed',
      `A ticket for ${principal} came, but klist does not say when it ends.`,
    )
  return at
}
