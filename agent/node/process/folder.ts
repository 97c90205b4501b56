import path from 'node:path'

import type { ProcessId } from './proc.ts'

/** Files of one attempt, shared by the agent and the shim that outlives it. */
export function filesIn(folder: string) {
  const at = (name: string) => path.join(folder, name)
  return {
    /** What is to run: on disk before anything is started. */
    launch: at('launch.json'),
    /** Made by the one shim that may run it; a second one finds it and goes. */
    claim: at('claim'),
    running: at('running.json'),
    log: at('log.jsonl'),
    exit: at('exit.json'),
  }
}

export interface ProcessLaunch {
  readonly task: string
  readonly attempt: number
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

export interface Claim {
  readonly shim: ProcessId
  readonly bootId: string
}

export interface Running {
  /** null when it ended before anyone could look. */
  readonly leader: ProcessId | null
  readonly startedAt: string
}
