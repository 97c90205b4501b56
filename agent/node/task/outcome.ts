import os from 'node:os'
import { formatBytes, type Reason, type Resources } from '../../../contract/index.ts'
import type { TaskReport } from '../../cluster/commands.ts'
import type { Exit } from '../runtime.ts'
import type { StopCause } from './records.ts'

export interface Outcome {
  readonly state: Extract<TaskReport['state'], 'Succeeded' | 'Failed' | 'Stopped'>
  readonly reason?: Reason
}

/** How an attempt ended, in words for people. */
export function outcomeOf(
  exit: Exit,
  stopped: StopCause | null,
  limits: { readonly resources: Resources; readonly timeoutSeconds: number | null },
): Outcome {
  if (stopped === 'requested')
    return { state: 'Stopped', reason: { code: 'stopped', message: 'It was stopped on request.' } }
  if (stopped === 'evicted')
    return { state: 'Stopped', reason: { code: 'evicted', message: 'It was asked to leave its node.' } }
  if (stopped === 'lease')
    return failed(
      'lease_expired',
      'Its node was cut off from the cluster for longer than its lease, and stopped it.',
    )
  if (stopped === 'timeout')
    return failed(
      'timeout',
      `It ran longer than its limit of ${durationText(limits.timeoutSeconds ?? 0)} and was stopped.`,
    )
  if (exit.failure) return failed(exit.failure.code, exit.failure.message)
  if (exit.exitCode === 0) return { state: 'Succeeded' }
  if (exit.oomKilled)
    return failed(
      'oom_killed',
      `It needed more memory than its limit of ${formatBytes(limits.resources.memory)} and was killed. Ask for more memory, or use less (a smaller batch, fewer data loaders).`,
    )
  return failed('exit_code', exitText(exit.exitCode))
}

function failed(code: string, message: string): Outcome {
  return { state: 'Failed', reason: { code, message } }
}

/** What shells and engines mean by an exit code. */
function exitText(code: number | null): string {
  if (code === null) return 'It ended without an exit code.'
  if (code === 126) return 'It ended with exit code 126: the command was found but may not be executed.'
  if (code === 127) return 'It ended with exit code 127: the command was not found.'
  const signal = Object.entries(os.constants.signals).find(([, number]) => number === code - 128)?.[0]
  if (signal) return `It ended with exit code ${code}: it was killed by ${signal}.`
  return `It ended with exit code ${code}; its log may say why.`
}

/** `1 hour 30 minutes`. */
export function durationText(seconds: number): string {
  const units = [
    ['day', 86400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ] as const
  let rest = Math.round(seconds)
  const parts = units.flatMap(([name, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count ? [`${count} ${name}${count === 1 ? '' : 's'}`] : []
  })
  return parts.join(' ') || '0 seconds'
}
