import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ProblemError } from '../../../contract/index.ts'
import { belongTogether, type Credentials, memberOf } from './ca.ts'
import { hasCode, makeFolder, syncFolder, writeFileDurably } from './files.ts'
import { lockFolder } from './lock.ts'

/** Raised when an older agent could not understand the folder any more. */
const formatVersion = 1

const Identity = z.object({
  version: z.int(),
  cluster: z.string().min(1),
  cluster_name: z.string().min(1),
  member: z.int().positive(),
  node: z.string().min(1),
  name: z.string().min(1),
  created_at: z.string(),
  /** Who this host was before its cluster was founded anew: its containers still carry those names. */
  formerly: z.array(z.object({ cluster: z.string(), node: z.string() })).optional(),
})
export type Identity = Readonly<Omit<z.infer<typeof Identity>, 'version'>>

/** Subfolders; each belongs to one part of the agent. */
const parts = ['log', 'state', 'blobs', 'streams', 'tasks', 'node'] as const
export type Part = (typeof parts)[number]

/** What an agent keeps, opened and locked. Its identity stands outside LevelDB, which would forget it silently. */
export interface DataFolder {
  readonly path: string
  readonly identity: Identity
  readonly credentials: Credentials
  /** Only voters have it; several while it is replaced, the oldest first. */
  readonly clusterKeys: readonly Buffer[]
  readonly folders: Readonly<Record<Part, string>>
  /** Give the folder back to other processes. */
  close(): Promise<void>
}

export interface NewFolder {
  readonly identity: Identity
  readonly credentials: Credentials
  readonly clusterKey?: Uint8Array
  /** Make what else must be there from the first start (the log). Nothing counts before it is done. */
  readonly prepare?: (folders: DataFolder['folders']) => Promise<void>
}

const identityFile = 'identity.json'
const clusterKeyFile = 'cluster.key'
const lockFile = 'agent.lock'
/** Left by an agent that heard that its node was removed: nothing in the folder may take part again. */
const removedFile = 'removed.json'
/** A recovery is being made here; what it holds takes the place of the old log and identity in its last step. */
export const recoveryFolder = 'recovery'
const ours = new Set<string>([
  identityFile,
  clusterKeyFile,
  lockFile,
  removedFile,
  'tls',
  'peers.json',
  'peers-learned.json',
  ...parts,
])
const pathsOf = (data: string) =>
  Object.fromEntries(parts.map((part) => [part, join(data, part)])) as Record<Part, string>

/** May a new identity be put here? Throws ProblemError `conflict` when anything stands in the folder. */
export async function checkUnused(data: string): Promise<void> {
  const names = (await readdir(data).catch(noneIfMissing)).filter((name) => !name.startsWith(lockFile))
  if (names.includes(removedFile)) throw removedFrom(data, await readIdentity(join(data, identityFile)))
  if (names.includes(recoveryFolder)) throw halfRecovered(data)
  if (names.includes(identityFile))
    throw new ProblemError('conflict', `the data folder already belongs to a cluster: ${data}`, {
      hint: 'Give a new or empty folder with --data. The agent of this one is started without --create and --join.',
    })
  if (names.some((name) => ours.has(name))) throw halfMade(data)
  if (names.length > 0)
    throw new ProblemError('conflict', `the folder holds other files (${names[0]}, …): ${data}`, {
      hint: 'Give an empty or new folder with --data.',
    })
}

/** Write everything a member is known by; `identity.json` comes last, so that a folder with it is whole. */
export async function initFolder(data: string, contents: NewFolder): Promise<void> {
  // Somebody else's folder is left as it is, without even a lock.
  if (!(await readdir(data).catch(noneIfMissing)).some((name) => ours.has(name))) await checkUnused(data)
  await makeFolder(data, 0o700).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    throw new ProblemError('conflict', `the data folder cannot be made: ${why}`, {
      hint: 'Give another folder with --data, on a disk that this user may write to.',
    })
  })
  const unlock = await lockFolder(join(data, lockFile))
  try {
    await checkUnused(data)
    const folders = pathsOf(data)
    for (const path of [join(data, 'tls'), ...Object.values(folders)]) await mkdir(path, { mode: 0o700 })
    await writeCredentials(data, contents.credentials)
    if (contents.clusterKey) await writeClusterKeys(data, [contents.clusterKey])
    await contents.prepare?.(folders)
    await syncFolder(data)
    await writeIdentity(data, contents.identity)
  } finally {
    await unlock()
  }
}

export async function writeIdentity(data: string, identity: Identity): Promise<void> {
  const text = JSON.stringify({ version: formatVersion, ...identity }, null, 2) + '\n'
  await writeFileDurably(join(data, identityFile), text)
}

/** Alone on the folder, whatever state it is in. */
export const lockData = (data: string): Promise<() => Promise<void>> => lockFolder(join(data, lockFile))

/** Throws ProblemError that says what is wrong, where, and what would be right. */
export async function openFolder(data: string): Promise<DataFolder> {
  const names = await readdir(data).catch(noneIfMissing)
  if (names.includes(recoveryFolder)) throw halfRecovered(data)
  if (!names.includes(identityFile)) {
    if (names.some((name) => ours.has(name))) throw halfMade(data)
    throw new ProblemError('not_found', `no agent's data folder: ${data}`, {
      hint: 'Correct the path. A new agent is started with --create, or with --join TOKEN.',
    })
  }
  await checkAccess(data, 0o022, '700')
  const unlock = await lockFolder(join(data, lockFile))
  try {
    const identity = await readIdentity(join(data, identityFile))
    if (names.includes(removedFile)) throw removedFrom(data, identity)
    const credentials = await readCredentials(data)
    checkBelongs(data, identity, credentials)
    const folders = pathsOf(data)
    for (const path of Object.values(folders)) await mkdir(path, { recursive: true, mode: 0o700 })
    const clusterKeys = await readClusterKeys(data)
    return { path: data, identity, credentials, clusterKeys, folders, close: unlock }
  } catch (error) {
    await unlock()
    throw error
  }
}

/** A renewal keeps the key, so that a crash between two files leaves a set that fits together. */
export async function writeCredentials(data: string, { ca, cert, key }: Credentials): Promise<void> {
  await writeFileDurably(join(data, 'tls', 'node.key'), key, 0o600)
  await writeFileDurably(join(data, 'tls', 'ca.pem'), ca)
  await writeFileDurably(join(data, 'tls', 'node.pem'), cert)
}

/** One a line. Handed over when a member is promoted to voter, and when there is a new one. */
export async function writeClusterKeys(data: string, keys: readonly Uint8Array[]): Promise<void> {
  const text = keys.map((key) => Buffer.from(key).toString('base64') + '\n').join('')
  await writeFileDurably(join(data, clusterKeyFile), text, 0o600)
}

/** This node was removed from its cluster; the folder is kept, but never opened again. */
export async function markRemoved({ path, identity }: Pick<DataFolder, 'path' | 'identity'>): Promise<void> {
  const mark = { member: identity.member, heard_at: new Date().toISOString() }
  await writeFileDurably(join(path, removedFile), JSON.stringify(mark, null, 2) + '\n')
}

/** Why a removed node does not run, with the way back. */
export const removedFrom = (data: string, { name, node, cluster_name }: Identity) =>
  new ProblemError('removed', `node ${name} (${node}) was removed from cluster ${cluster_name}`, {
    hint: wayBack(data, name, 'Move its data folder away and join again as a new node:', false),
  })

/** The commands by which a host comes back under a new member id, its old data set aside. A shell takes each line as it is. */
export function wayBack(data: string, name: string, first: string, known: boolean): string {
  const quoted = /^[\w./+-]+$/.test(data) ? data : `'${data.replaceAll("'", "'\\''")}'`
  return [
    first,
    ...(known ? [`  submarine node remove ${name}    # where you are signed in, on another host`] : []),
    '  submarine cluster token    # where you are signed in; prints TOKEN',
    `  mv ${quoted} ${quoted}.old`,
    `  submarine agent start --data ${quoted} --name ${name} --join TOKEN    # and the options it had before`,
  ].join('\n')
}

async function readIdentity(path: string): Promise<Identity> {
  const damaged = (cause: unknown) =>
    new ProblemError('conflict', `damaged identity file: ${path}: ${String(cause)}`, {
      hint: 'Restore it from a backup, or remove this node from the cluster and join it again with an empty folder.',
    })
  let value: unknown
  try {
    value = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw damaged(error)
  }
  const version = z.object({ version: z.int() }).safeParse(value).data?.version
  if (version !== undefined && version > formatVersion)
    throw new ProblemError(
      'unsupported',
      `the data folder has format ${version}, this agent knows up to ${formatVersion}: ${path}`,
      { hint: 'Start the version of the agent that wrote it, or a newer one.' },
    )
  const parsed = Identity.safeParse(value)
  if (!parsed.success) throw damaged(z.prettifyError(parsed.error))
  const { version: _version, ...identity } = parsed.data
  return identity
}

async function readCredentials(data: string): Promise<Credentials> {
  const file = async (name: string) => {
    const path = join(data, 'tls', name)
    if (name === 'node.key') await checkAccess(path, 0o077, '600')
    return readFile(path, 'utf8').catch((cause: unknown) => {
      throw missing(path, cause)
    })
  }
  return { key: await file('node.key'), cert: await file('node.pem'), ca: await file('ca.pem') }
}

async function readClusterKeys(data: string): Promise<Buffer[]> {
  const path = join(data, clusterKeyFile)
  const text = await readFile(path, 'utf8').catch(undefinedIfMissing)
  if (text === undefined) return []
  await checkAccess(path, 0o077, '600')
  const keys = text
    .trim()
    .split('\n')
    .map((line) => Buffer.from(line, 'base64'))
  if (keys.every((key) => key.length === 32)) return keys
  throw new ProblemError('conflict', `damaged cluster key, 32 bytes expected: ${path}`, {
    hint: "Copy cluster.key from another voter's data folder, or restore it from a backup.",
  })
}

/** A folder put together from two clusters', or two members', must not start: it would vote in another's name. */
function checkBelongs(data: string, identity: Identity, credentials: Credentials): void {
  const certified = memberOf(credentials.cert)
  const hint = `Put back the tls/ folder and ${identityFile} that belong together, or join again with an empty folder.`
  if (certified?.cluster !== identity.cluster || certified.member !== identity.member) {
    const [is, says] = [certified ?? { cluster: 'none', member: 0 }, identity].map(
      (who) => `member ${who.member} of cluster ${who.cluster}`,
    )
    throw new ProblemError(
      'conflict',
      `the certificate is for ${is}, ${identityFile} says ${says}: ${data}`,
      {
        hint,
      },
    )
  }
  if (!belongTogether(credentials))
    throw new ProblemError(
      'conflict',
      `node.pem, node.key and ca.pem do not belong together: ${join(data, 'tls')}`,
      { hint },
    )
}

/** Secrets that others may read are no secrets, and files of another user will fail later, half-way. */
async function checkAccess(path: string, forbidden: number, right: string): Promise<void> {
  const { mode, uid } = await stat(path).catch((cause: unknown) => {
    throw missing(path, cause)
  })
  const self = process.getuid?.()
  if (self === undefined) return
  if (uid !== self)
    throw new ProblemError('conflict', `owned by user ${uid}, the agent runs as user ${self}: ${path}`, {
      hint: `Run the agent as that user, or: chown -R ${self} the data folder.`,
    })
  if (mode & forbidden)
    throw new ProblemError('conflict', `mode ${(mode & 0o777).toString(8)} lets other users in: ${path}`, {
      hint: `chmod ${right} ${path}`,
    })
}

const missing = (path: string, cause: unknown) =>
  new ProblemError('conflict', `cannot read ${path}: ${String(cause)}`, {
    hint: 'Restore the file from a backup, or join again with an empty folder.',
    cause,
  })

const halfRecovered = (data: string) =>
  new ProblemError('conflict', `a recovery was begun here and is not finished: ${data}`, {
    hint: `Run \`submarine cluster recover --from-data ${data}\` again: it goes on, or begins anew.`,
  })

const halfMade = (data: string) =>
  new ProblemError('conflict', `half-made data folder, its making was interrupted: ${data}`, {
    hint: 'Nothing in it was ever in use: delete the folder and run the same command again.',
  })

function noneIfMissing(error: unknown): string[] {
  if (hasCode(error, 'ENOENT')) return []
  if (hasCode(error, 'ENOTDIR'))
    throw new ProblemError(
      'conflict',
      `a file stands where the data folder should be: ${(error as NodeJS.ErrnoException).path}`,
      {
        hint: 'Give a folder with --data.',
      },
    )
  throw error
}

function undefinedIfMissing(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT')) throw error
}
