import { chmod, chown, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { realmOf, type Reason, ticketFiles } from '../../../contract/index.ts'
import { uidOf } from '../../cluster/people-ids.ts'
import { kerberosOf } from '../../cluster/rules/kerberos.ts'
import { secretId } from '../../cluster/secret-access.ts'
import { absent } from '../files.ts'
import { kerberosConfig } from '../kerberos/config.ts'
import { NoTicket } from '../kerberos/failure.ts'
import { getTicket } from '../kerberos/kinit.ts'
import { StartFailure } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'
import { openedSecret } from './opened.ts'

type Context = Pick<RunnerContext, 'cluster' | 'folders' | 'secretFor' | 'log' | 'reports' | 'timing'>

/** How programs find the ticket, where they see the folder. */
export const ticketEnvironment = (folder: string): Record<string, string> => ({
  KRB5CCNAME: `FILE:${folder}/${ticketFiles.cache}`,
  KRB5_CONFIG: `${folder}/${ticketFiles.config}`,
})

/** A first ticket and the configuration for it, for the folder of the attempt's secrets. Throws StartFailure. */
export async function giveTicket(attempt: Attempt, context: Context, name: string): Promise<void> {
  const { secrets: folder } = folderOf(attempt, context)
  const config = path.join(folder, ticketFiles.config)
  await withTicket(attempt, context, name, async (ticket, text) => {
    // Its runtime gives it to the task's user alone, where it knows whom; nobody but the agent passes above the folder.
    if (process.getuid?.() === 0) await chown(ticket.file, 0, 0)
    await chmod(ticket.file, 0o644)
    await rename(ticket.file, path.join(folder, ticketFiles.cache))
    await writeFile(config, text)
    await chmod(config, 0o444)
  })
}

/**
 * New tickets while it runs, each when half of the time of the one before is over. The keytab is asked for each time:
 * who may not use it any more gets no further ticket, and no keytab lies on the node meanwhile. What fails is told and
 * tried again.
 */
export async function renewTickets(attempt: Attempt, context: Context, signal: AbortSignal): Promise<void> {
  const use = attempt.experiment.spec.secrets?.find(({ ticket }) => ticket)
  if (!use) return
  const { log, timing } = context
  const teller = tellTrouble(attempt, context, signal)
  for (let failed = false; ; ) {
    await delay(pauseFor(attempt.ticketUntil, failed, timing.retry), undefined, { signal })
    try {
      await renew(attempt, context, use.name)
      failed = false
      teller(undefined)
    } catch (error) {
      signal.throwIfAborted()
      failed = true
      const trouble = troubleOf(error, attempt.ticketUntil)
      log.warn({ err: error, code: trouble.code }, 'a Kerberos ticket could not be renewed just now; trying again')
      teller(trouble)
    }
  } // prettier-ignore
}

const longestRetry = 60_000

/** After a restart of the agent it is not known until when the ticket is good: a new one is got at once. */
function pauseFor(until: number | undefined, failed: boolean, retry: number): number {
  const left = Math.max(0, (until ?? 0) - Date.now())
  if (failed) return Math.max(retry, Math.min(longestRetry, left / 10))
  return until === undefined ? 0 : Math.min(Math.max(left / 2, Math.min(retry, 1000)), 2 ** 31 - 1)
}

async function renew(attempt: Attempt, context: Context, name: string): Promise<void> {
  const { secrets: folder } = folderOf(attempt, context)
  const cache = path.join(folder, ticketFiles.cache)
  await withTicket(attempt, context, name, async ({ file }) => {
    const { uid, gid } = await stat(folder)
    const before = await stat(cache).catch(absent)
    if (process.getuid?.() === 0) await chown(file, uid, gid)
    await chmod(file, (before?.mode ?? 0o600) & 0o777)
    // In one step: programs that read it have the old one or the new one.
    await rename(file, cache)
  })
}

async function withTicket(
  attempt: Attempt,
  context: Context,
  name: string,
  use: (ticket: { readonly file: string }, config: string) => Promise<void>,
): Promise<void> {
  const { principal, config } = settingsOf(attempt, context, name)
  const keytab = await openedSecret(attempt, context, name)
  const { kinit: folder } = folderOf(attempt, context)
  const uid = uidOf(context.cluster.state(), attempt.experiment.owner)
  try {
    await rm(folder, { recursive: true, force: true })
    const ticket = await getTicket({ principal, keytab, config, folder, uid })
    await use(ticket, config)
    attempt.ticketUntil = ticket.expiresAt
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** As they are now: since it was submitted the secret may have got another principal, and the cluster other realms. */
function settingsOf({ experiment }: Attempt, { cluster }: Context, name: string) {
  const state = cluster.state()
  const id = secretId(experiment.owner, name)
  const principal = state.secrets.get(id)?.principal
  if (principal === undefined)
    throw new NoTicket('kerberos_principal', `The secret ${id} has no principal any more, or is gone.`)
  const settings = kerberosOf(state)
  const realm = realmOf(principal)
  if (!settings.realms.some((known) => known.realm === realm))
    throw new NoTicket('kerberos_realm', `The cluster does not know the realm ${realm} of ${principal} any more; see \`submarine kerberos get\`.`) // prettier-ignore
  return { principal, config: kerberosConfig(settings, realm) }
}

const folderOf = ({ task }: Attempt, { folders }: Context) => folders.of(task.id, task.attempt)

function troubleOf(error: unknown, until: number | undefined): Reason {
  const code = error instanceof StartFailure ? error.code : 'kerberos_failed'
  const ends = until === undefined ? '' : ` Its ticket ends at ${new Date(until).toISOString()}.`
  return { code, message: `its Kerberos ticket is not renewed: ${(error as Error).message}${ends}` }
}

/** Tells what changes, in order, and holds nobody up. */
function tellTrouble(attempt: Attempt, { reports }: Context, signal: AbortSignal) {
  // What an agent before this one told.
  let known = reports.current(attempt.task.id, attempt.task.attempt)?.reason?.code
  let telling: Promise<unknown> = Promise.resolve()
  return (trouble: Reason | undefined): void => {
    if (trouble?.code === known) return
    known = trouble?.code
    const report = { ...attempt.report('Running'), ...(trouble ? { reason: trouble } : {}) }
    telling = telling.then(() => reports.send(report, signal)).catch(() => undefined)
  }
}
