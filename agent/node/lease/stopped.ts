import { mkdirSync, rmSync, writeFileSync, existsSync } from 'node:fs'
import path from 'node:path'
import { attemptKey } from '../key.ts'
import { leaseFolder } from './deadlines.ts'

/** Notes of attempts that the lease keeper ended, so that the agent that reports them knows why. */
const fileOf = (dataDir: string, task: string, attempt: number) =>
  path.join(leaseFolder(dataDir), 'stopped', attemptKey(task, attempt))

export function noteStopped(dataDir: string, task: string, attempt: number): void {
  const file = fileOf(dataDir, task, attempt)
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(file, '', { mode: 0o600 })
}

export function wasStopped(dataDir: string, task: string, attempt: number): boolean {
  return existsSync(fileOf(dataDir, task, attempt))
}

export function forgetStopped(dataDir: string, task: string, attempt: number): void {
  rmSync(fileOf(dataDir, task, attempt), { force: true })
}
