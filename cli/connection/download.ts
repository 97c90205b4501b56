import { createHash, type Hash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, realpath, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../../contract/client.ts'
import type { Artifact } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { isInside } from '../../contract/text.ts'
import { makeFolder } from './folder.ts'

/** Where to save a file below a folder; refuses names, and links on the way, that lead out of it. */
export async function openTarget(folder: string, name: string): Promise<string> {
  if (!isInside(name) || path.isAbsolute(name) || /[\u0000-\u001f]/.test(name)) throw leavesFolder(name)
  await makeFolder(folder)
  const root = await realpath(folder)
  let at = root
  for (const part of path
    .dirname(name)
    .split('/')
    .filter((p) => p !== '.')) {
    at = path.join(at, part)
    await mkdir(at).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
    if (!(await lstat(at)).isDirectory()) throw leavesFolder(name)
  }
  return path.join(at, path.basename(name))
}

const leavesFolder = (name: string) =>
  new ProblemError('internal', `refused to save ${JSON.stringify(name)}: it would leave the folder`, {
    hint: 'The agent answered with a name it should not have. Report it to an admin of the cluster.',
  })

/**
 * Save one artifact: into a `.part` file first, resumed where an earlier try ended, renamed only when its SHA-256 is
 * right. An agent that dies on the way costs nothing but the rest of the file.
 */
export async function downloadArtifact(
  client: Client,
  experiment: string,
  artifact: Artifact,
  target: string,
  signal?: AbortSignal,
): Promise<'saved' | 'present'> {
  if (await hasDigest(target, artifact)) return 'present'
  // The digest in its name keeps a rest of another version from being continued.
  const part = `${target}.${artifact.sha256.slice(0, 12)}.part`
  for (const last of [false, true]) {
    const digest = await fillPart(client, experiment, artifact, part, signal)
    if (digest === artifact.sha256) {
      await rename(part, target)
      return 'saved'
    }
    await rm(part, { force: true })
    if (last) break
  }
  throw new ProblemError(
    'internal',
    `${artifact.path} arrived damaged twice: its SHA-256 is not the listed one`,
    {
      hint: 'The copy on the agent may be damaged; try again later or through another agent.',
    },
  )
}

async function hasDigest(file: string, artifact: Artifact): Promise<boolean> {
  const found = await lstat(file).catch(() => undefined)
  if (!found?.isFile() || found.size !== artifact.bytes) return false
  return (await hashFile(file)).digest('hex') === artifact.sha256
}

async function hashFile(file: string): Promise<Hash> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash
}

/** Fill the part to its full length over as many connections as it takes; answers its digest. */
async function fillPart(
  client: Client,
  experiment: string,
  artifact: Artifact,
  part: string,
  signal?: AbortSignal,
): Promise<string> {
  const file = await open(part, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644)
  try {
    for (let failures = 0; ;) {
      const from = (await file.stat()).size
      if (from >= artifact.bytes) break
      try {
        await continuePart(client, experiment, artifact, file, from, signal)
      } catch (error) {
        signal?.throwIfAborted()
        if (error instanceof ProblemError || failures > 8) throw error
      }
      failures = (await file.stat()).size > from ? 0 : failures + 1
      if (failures > 8) throw new Error(`${artifact.path}: the connection brings nothing more`)
      if (failures) await sleep(Math.min(100 * 2 ** failures, 2000))
    }
    if ((await file.stat()).size > artifact.bytes) return 'too long'
  } finally {
    await file.close()
  }
  return (await hashFile(part)).digest('hex')
}

async function continuePart(
  client: Client,
  experiment: string,
  artifact: Artifact,
  file: FileHandle,
  from: number,
  signal?: AbortSignal,
): Promise<void> {
  const response = await client.raw('experiments.artifact', {
    params: { experiment, task: artifact.task, path: artifact.path },
    ...(from > 0 ? { headers: { range: `bytes=${from}-` } } : {}),
    ...(signal ? { signal } : {}),
  })
  // An agent may answer a range with the whole file.
  const start = response.status === 206 ? startOf(response) : 0
  if (start !== from) await file.truncate(start)
  let at = start
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    await file.write(chunk, 0, chunk.length, at)
    at += chunk.length
    if (at > artifact.bytes) return void (await response.body?.cancel().catch(() => undefined))
  }
}

function startOf(response: Response): number {
  const match = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')
  return match ? Number(match[1]) : 0
}
