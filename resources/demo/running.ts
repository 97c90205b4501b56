import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'

/** What a running demo tells a second one. */
export interface Running {
  readonly pid: number
  readonly address?: string
  readonly user?: string
  readonly password?: string
}

export type Claim =
  | { readonly other: Running }
  | { readonly tell: (running: Omit<Running, 'pid'>) => Promise<void>; readonly release: () => Promise<void> }

/** Be the only demo of this folder, or learn how to reach the one that runs. A file left by a killed demo is taken over. */
export async function claim(folder: string, pid = process.pid): Promise<Claim> {
  const file = path.join(folder, 'running.json')
  const write = (running: Running, flag: string) =>
    writeFile(file, JSON.stringify(running), { flag, mode: 0o600 })
  for (;;) {
    try {
      await write({ pid }, 'wx')
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const other = await read(file)
    if (other && isAlive(other.pid)) return { other }
    await rm(file, { force: true })
  }
  return {
    tell: (running) => write({ ...running, pid }, 'w'),
    release: () => rm(file, { force: true }),
  }
}

async function read(file: string): Promise<Running | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Running
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
