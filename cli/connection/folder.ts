import { mkdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { UsageError } from '../failure.ts'

/** A folder with all above it, made step by step: Node's recursive way never ends where the system refuses, as in /proc. */
export async function makeFolder(given: string, mode = 0o777): Promise<void> {
  const folder = path.resolve(given)
  const found = await stat(folder).catch(() => undefined)
  if (found?.isDirectory()) return
  if (found) throw new UsageError(`${folder} is no folder`, 'Give another one.')
  const parent = path.dirname(folder)
  if (parent !== folder) await makeFolder(parent, mode)
  await mkdir(folder, { mode }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') return
    throw new UsageError(`the folder ${folder} cannot be made (${error.code})`, 'Give another one.')
  })
}
