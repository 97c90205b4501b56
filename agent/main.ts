import type { Logger } from 'pino'
import { addressesOf, defaultName } from './address.ts'
import { foundCluster } from './cluster/entry/found.ts'
import { joinCluster } from './cluster/entry/join.ts'
import { fingerprint } from './cluster/identity/ca.ts'
import { FolderInUse } from './cluster/identity/lock.ts'
import { openFolder, removedFrom, wayBack } from './cluster/identity/data-folder.ts'
import type { NodeRow } from './cluster/state.ts'
import { setPeer } from './cluster/wire/address-book.ts'
import { ProblemError } from '../contract/index.ts'
import { StoreError } from '../raft/index.ts'
import { StateDamaged, StateDb } from './store/state-db.ts'
import { compose, type RunningAgent } from './compose.ts'
import { createLog } from './http/log.ts'
import type { AgentOptions } from './options.ts'

export type { AgentOptions } from './options.ts'
export { openRecovery } from './recovery/recover.ts'
export { restoreBackup } from './recovery/restore.ts'
export { newPassphraseKey } from './recovery/passphrase.ts'
export { verifyBackup } from './recovery/verify.ts'

/** Found or join where that is asked for, then run. Throws ProblemError that says what is wrong and what would be right. */
export async function startAgent(given: AgentOptions): Promise<{ stop(): Promise<void> }> {
  const options = fromEnvironment(given)
  const log = createLog(options.logLevel)
  const { advertise } = addressesOf(options)
  const name = options.name ?? defaultName()
  if (options.create)
    await foundCluster({
      data: options.data,
      name,
      address: advertise,
      clusterName: options.create.clusterName,
      password: options.create.adminPassword,
    })
  if (options.join) await joinCluster({ data: options.data, token: options.join, name, address: advertise })
  let agent = await run(options, log)
  announce(agent, given)
  let stopping = false
  const renew = async (old: RunningAgent): Promise<void> => {
    await old.outdated
    if (stopping) return
    log.warn('the agent starts again, to make its state anew; tasks keep running')
    await old.stop()
    agent = await run(options, log)
    return renew(agent)
  }
  renew(agent).catch((error: unknown) => fail(log, error))
  return {
    stop: () => {
      stopping = true
      return agent.stop()
    },
  }
}

/** What is in memory may differ from what is on disk: only a fresh start is right again. */
function fail(log: Logger, error: unknown): void {
  log.fatal({ err: error }, 'the agent cannot go on and ends; tasks keep running')
  process.exitCode = 70
  log.flush(() => process.exit(70))
}

async function run(options: AgentOptions, root: Logger): Promise<RunningAgent> {
  const folder = await openFolder(options.data)
  const log = root.child({ agent: folder.identity.node })
  const agent = await compose(folder, options, log, (error) => fail(log, error)).catch((error: unknown) => {
    throw refusal(error, options.data, folder.identity.name)
  })
  void agent.removed.then(() => leave(agent, options.data, log))
  log.info(
    { name: folder.identity.name, node: folder.identity.node, address: agent.advertise },
    'agent is up',
  )
  return agent
}

/** Why the agent's storage cannot be used, and the way out. A member that may have forgotten what it promised must not vote. */
function refusal(error: unknown, data: string, name: string): unknown {
  if (error instanceof StateDamaged)
    return new ProblemError('conflict', error.message, { hint: error.hint, cause: error })
  if (!(error instanceof StoreError)) return portTaken(error)
  const hint =
    error.code === 'locked'
      ? 'Stop the other process first.'
      : wayBack(data, name, 'Move the data folder away and join again as a new member:', true)
  return new ProblemError('conflict', error.message, { hint, cause: error })
}

/** The port cannot be had: a sentence instead of the system's code. */
function portTaken(error: unknown): unknown {
  const { code, syscall, address, port } = error as NodeJS.ErrnoException & {
    address?: string
    port?: number
  }
  if (syscall !== 'listen') return error
  const at = `${address}:${port}`
  const why: Record<string, [string, string]> = {
    EADDRINUSE: [`another process listens at ${at} already`, 'Is an agent running here? Stop it first, or choose another port with --bind.'],
    EADDRNOTAVAIL: [`${address} is no address of this host`, 'Give --bind an address that this host has, or 0.0.0.0 for all.'],
    EACCES: [`no permission to listen at ${at}`, 'Choose a port above 1023 with --bind.'],
  } // prettier-ignore
  const [message, hint] = why[code ?? ''] ?? []
  return message === undefined
    ? error
    : new ProblemError('conflict', message, { cause: error, ...(hint ? { hint } : {}) })
}

/** Its node was removed: it says so and ends, and the mark in its folder keeps it from starting again. */
async function leave(agent: RunningAgent, data: string, log: Logger): Promise<void> {
  const { message, hint } = removedFrom(data, agent.folder.identity)
  log.warn(message)
  process.stderr.write(`\n${message}. Its tasks were ended and it stops.\nhint: ${hint}\n`)
  await agent.stop().catch((error: unknown) => log.error({ err: error }, 'the agent did not stop in order'))
  process.exitCode = 5
  log.flush(() => process.exit(5))
}

/** What a person reads who started it by hand; where a password was chosen beforehand, none is shown. */
function announce(agent: RunningAgent, given: AgentOptions): void {
  const { identity, credentials } = agent.folder
  process.stderr.write(
    `\nNode ${identity.name} of cluster ${identity.cluster_name}\n` +
      `  Console  ${agent.loopback ?? `https://${agent.advertise}`}\n` +
      `  CA       ${(fingerprint(credentials.ca).toUpperCase().match(/../g) ?? []).join(':')} (SHA-256)\n\n`,
  )
  void agent.founded.then((password) => {
    if (password === undefined || fromEnvironment(given).create?.adminPassword !== undefined) return
    process.stderr.write(
      `The cluster is formed. Sign in as admin with this one-time password, shown only now:\n\n  ${password}\n\n`,
    )
  })
}

/** Secrets come by the environment, so that they stand in no process list. */
function fromEnvironment(options: AgentOptions): AgentOptions {
  const adminPassword = process.env['SUBMARINE_ADMIN_PASSWORD']
  const demoFile = options.demoFile ?? process.env['SUBMARINE_DEMO_FILE']
  return {
    ...options,
    ...(options.create && adminPassword ? { create: { adminPassword, ...options.create } } : {}),
    ...(demoFile ? { demoFile } : {}),
  }
}

/** `submarine agent set-peer`: where this agent shall look for members whose addresses changed. */
export async function setPeers(
  data: string,
  entries: readonly { node: string; address: string }[],
): Promise<void> {
  const rows = await nodesIn(data)
  const members = new Map<string, number>()
  for (const { node } of entries) members.set(node, memberOf(rows, node))
  for (const { node, address } of entries) await setPeer(data, members.get(node) ?? 0, address)
}

/** The nodes of the stopped agent's own copy of the state; undefined while the agent runs, which keeps it to itself. */
async function nodesIn(data: string): Promise<readonly NodeRow[] | undefined> {
  const folder = await openFolder(data).catch((error: unknown) => {
    if (error instanceof FolderInUse) return undefined
    throw error
  })
  if (!folder) return undefined
  try {
    const db = await StateDb.open(folder.folders.state)
    const { state } = await db.load().finally(() => db.close())
    return [...state.nodes.values()]
  } catch (error) {
    // A damaged copy is made anew at the next start; until then ids do.
    if (error instanceof StateDamaged) return undefined
    throw error
  } finally {
    await folder.close()
  }
}

/** A node's member by its id or name; beside a running agent, and before the first copy of the state, ids are believed. */
function memberOf(rows: readonly NodeRow[] | undefined, node: string): number {
  const member = Number(/^(?:node-)?(\d+)$/.exec(node)?.[1])
  if (member && !rows?.length) return member
  const row = rows?.find((one) => one.name === node || one.member === member)
  if (row) return row.member
  const names = rows?.map(({ name, id }) => `${name} (${id})`) ?? []
  throw new ProblemError('not_found', `no node is named ${node}`, {
    hint: names.length
      ? `Known here: ${names.join(', ')}.`
      : 'Give its id, such as node-2, or stop the agent first.',
  })
}
