import type { ServerEvent } from '../../../contract/client.ts'
import type { LogLine } from '../../../contract/objects.ts'
import type { ProblemError } from '../../../contract/problem.ts'
import { problemFrom } from '../../api/client.ts'
import { backOff, type Sleep } from '../../api/retry.ts'

/** reading: lines flow or will; ended: all is read; otherwise what stands in the way, while it is tried again. */
export type LogStatus = 'reading' | 'ended' | ProblemError

/** Where a broken stream left off. */
export interface LogPlace {
  /** Of the last event: says how far every task was read; absent for very many tasks. */
  readonly id: string | undefined
  /** Time of the last line. */
  readonly time: string
}

export interface LogPorts {
  open(after: LogPlace | undefined, signal: AbortSignal): AsyncIterable<ServerEvent<LogLine>>
  line(line: LogLine): void
  /** Nothing more will be written. */
  over(): boolean
  status(now: LogStatus): void
  sleep: Sleep
}

/** Read a log until it is over, resuming where a broken stream left off. Lines may come twice: the buffer drops them. */
export async function followLog(ports: LogPorts, signal: AbortSignal): Promise<void> {
  let place: LogPlace | undefined
  let failures = 0
  while (!signal.aborted) {
    const overBefore = ports.over()
    try {
      ports.status('reading')
      for await (const { id, data } of ports.open(place, signal)) {
        if (signal.aborted) return
        failures = 0
        place = { id, time: data.time }
        ports.line(data)
      }
      // Over before the stream began: it held everything. Otherwise the last lines may still be on their way.
      if (overBefore) return ports.status('ended')
    } catch (error) {
      if (signal.aborted) return
      const problem = problemFrom(error)
      ports.status(problem)
      if (problem.code === 'unauthenticated') return
      if (problem.code === 'not_found' && overBefore) return
    }
    await ports.sleep(backOff(failures++), signal)
  }
}
