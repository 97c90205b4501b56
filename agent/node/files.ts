import { open, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'

/** Write a small JSON file so that after a crash there is the old one or the new one, whole. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  const draft = `${file}.draft`
  const handle = await open(draft, 'w', 0o600)
  try {
    await handle.writeFile(JSON.stringify(value))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, file)
  await syncFolder(path.dirname(file))
}

/** undefined when there is no such file. */
export async function readJson(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch(absent)
  return text === undefined ? undefined : (JSON.parse(text) as unknown)
}

export async function removeFile(file: string): Promise<void> {
  await rm(file, { force: true })
  await syncFolder(path.dirname(file))
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** For `.catch`: a missing file is undefined, any other error stays one. */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
  throw error
}
