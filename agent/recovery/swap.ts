import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { lockData, recoveryFolder } from '../cluster/identity/data-folder.ts'
import { hasCode, syncFolder, writeFileDurably } from '../cluster/identity/files.ts'

/** Written last: from then on the recovery counts, and only has to be put in place. */
const readyFile = 'ready'
/** What belonged to the old group and is made anew at the next start. */
const dropped = ['state', 'peers.json', 'peers-learned.json']
const replaced = ['log', 'tls', 'cluster.key', 'identity.json']

/** Where a recovery is made, empty. */
export async function beginSwap(data: string): Promise<string> {
  const made = join(data, recoveryFolder)
  await rm(made, { recursive: true, force: true })
  await mkdir(join(made, 'log'), { recursive: true, mode: 0o700 })
  await mkdir(join(made, 'tls'), { mode: 0o700 })
  return made
}

/** Puts what was made in the old things' place; they are kept beside. Answers the folder they are in. */
export async function commitSwap(data: string, name: string): Promise<string> {
  const made = join(data, recoveryFolder)
  await syncFolder(made)
  await writeFileDurably(join(made, readyFile), name)
  return putInPlace(data, name)
}

/** A recovery that was interrupted: one that counts is put in place, another is thrown away. */
export async function resumeSwap(
  data: string,
  nameOf: (ready: string) => Promise<string>,
): Promise<string | undefined> {
  const made = join(data, recoveryFolder)
  if (!(await exists(made))) return undefined
  const unlock = await lockData(data)
  try {
    if (await exists(join(made, readyFile)))
      return await putInPlace(data, await nameOf(join(made, readyFile)))
    await rm(made, { recursive: true, force: true })
    return undefined
  } finally {
    await unlock()
  }
}

/** Each step may have been done already, by a run that was cut off. */
async function putInPlace(data: string, name: string): Promise<string> {
  const made = join(data, recoveryFolder)
  const aside = join(data, name)
  await mkdir(aside, { recursive: true, mode: 0o700 })
  for (const part of dropped) await move(join(data, part), join(aside, part))
  for (const part of replaced) {
    // What is not here any more stands in its place already, and is not the old one.
    if (!(await exists(join(made, part)))) continue
    if (!(await exists(join(aside, part)))) await move(join(data, part), join(aside, part))
    await rename(join(made, part), join(data, part))
  }
  await syncFolder(aside)
  await syncFolder(data)
  // At once: a half-removed one would look like a recovery that was never finished.
  await rename(made, join(aside, recoveryFolder))
  await syncFolder(data)
  return aside
}

async function move(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error
  })
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )
