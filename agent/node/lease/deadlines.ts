import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { RuntimeName } from '../../../contract/index.ts'
import { bootId } from '../process/proc.ts'

/** Milliseconds since the host booted; goes on while it sleeps, and no clock that people set moves it. */
export const sinceBoot = (): number => Math.round(os.uptime() * 1000)

/** An attempt that ends itself when its node was not heard for so long. */
export interface Lease {
  readonly task: string
  readonly attempt: number
  readonly runtime: RuntimeName
  readonly seconds: number
  readonly graceSeconds: number
}

/** What the agent knows of its leases, for whoever has to keep them when it is dead. Times are since boot, ms. */
export interface Deadlines {
  readonly v: 1
  /** Times of another boot say nothing. */
  readonly boot: string
  /** When the last heartbeat was sent that a leader in office took. */
  readonly heard: number
  readonly dockerSocket: string | null
  readonly leases: readonly Lease[]
}

export const leaseFolder = (dataDir: string): string => path.join(dataDir, 'lease')
const fileIn = (dataDir: string) => path.join(leaseFolder(dataDir), 'deadlines.json')

/** undefined: none were written, or in an earlier boot, of which nothing runs any more. */
export function readDeadlines(dataDir: string): Deadlines | undefined {
  try {
    const read = JSON.parse(readFileSync(fileIn(dataDir), 'utf8')) as Deadlines
    return read.v === 1 && read.boot === bootId() ? read : undefined
  } catch {
    return undefined
  }
}

/** Whole or not at all. Not flushed to the disk: a crash of the host ends what it is about. */
export function writeDeadlines(dataDir: string, deadlines: Omit<Deadlines, 'v' | 'boot'>): void {
  mkdirSync(leaseFolder(dataDir), { recursive: true, mode: 0o700 })
  const draft = `${fileIn(dataDir)}.draft`
  writeFileSync(draft, JSON.stringify({ v: 1, boot: bootId(), ...deadlines } satisfies Deadlines), {
    mode: 0o600,
  })
  renameSync(draft, fileIn(dataDir))
}

/** Is the lease over, for a node that was last heard then? */
export const isOver = (lease: Pick<Lease, 'seconds'>, heard: number, now: number): boolean =>
  now - heard >= lease.seconds * 1000
