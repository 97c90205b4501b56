import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { shippedFiles } from '../../shipped-files.ts'
import { isAlive, type ProcessId } from '../process/proc.ts'
import { leaseFolder } from './deadlines.ts'

export const keeperFile = (dataDir: string): string => path.join(leaseFolder(dataDir), 'keeper.json')

/** The keeper of this folder, running or not; undefined when there never was one. */
export function keeperOf(dataDir: string): ProcessId | undefined {
  try {
    return JSON.parse(readFileSync(keeperFile(dataDir), 'utf8')) as ProcessId
  } catch {
    return undefined
  }
}

/** Start a keeper unless one runs: a process of its own session, so that nothing that ends the agent ends it. */
export function ensureKeeper(dataDir: string): void {
  const known = keeperOf(dataDir)
  if (known && isAlive(known)) return
  const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LANG: 'C.UTF-8' }
  const child = spawn(process.execPath, [shippedFiles.keeper, dataDir], {
    cwd: leaseFolder(dataDir),
    env,
    detached: true,
    stdio: 'ignore',
  })
  child.on('error', () => undefined)
  child.unref()
}
