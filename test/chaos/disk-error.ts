import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { eventually } from '../cluster/lab.ts'
import type { ChaosAgent } from './agent.ts'
import type { Fault } from './faults.ts'

/** How long an agent may take to sync that often, and to be gone after one that failed. */
const patienceS = 20

/**
 * The `count`th fdatasync of each of its threads fails, as on a disk that lost a page. The agent has to end at the first:
 * what it writes afterwards may be gone although it is told otherwise.
 */
export async function injectSyncError(victim: ChaosAgent, count: number): Promise<Fault> {
  const { pid } = victim
  if (pid === undefined) return { what: `${victim.name}, which does not run`, undo: () => undefined }
  victim.excuse('sync error')
  const trace = `${victim.disk}.strace`
  const inject = `inject=fdatasync:error=EIO:when=${count}`
  const args = ['-f', '-p', `${pid}`, '-o', trace, '-e', 'trace=fdatasync', '-e', inject]
  const strace = spawn('strace', args, { stdio: 'ignore' })
  const detached = once(strace, 'exit')
  const isOver = () => victim.pid !== pid
  await eventually('the agent ends', isOver, patienceS).catch(() => undefined)
  const wasInjected = (await readFile(trace, 'latin1').catch(() => '')).includes('INJECTED')
  if (wasInjected && !isOver()) victim.surprises.push(`${victim.name} went on after a failed sync`)
  return {
    what: `${victim.name}, at sync ${count} of a thread${wasInjected ? '' : ' (not reached)'}`,
    undo: async () => {
      strace.kill('SIGTERM')
      await detached
      victim.takeBack('sync error')
    },
  }
}
