import type { ServerEvent } from '../../../contract/client.ts'
import type { LogLine } from '../../../contract/objects.ts'
import type { ProblemError } from '../../../contract/problem.ts'
import { problemFrom } from '../../api/client.ts'
import { backOff, type Sleep } from '../../api/retry.ts'

/** reading: lines flow or will; ended: all is read; otherwise what stands in the way, while it is tried again. */
export type LogStatus = 'reading' | 'ended' | ProblemError

export interface LogQuery {
  readonly follow: '1'
  readonly task?: string
  readonly attempt?: number
  readonly tail?: number
  readonly offset?: number
  readonly since?: string
}

export interface LogPorts {
  /** Where to begin, or to go on after what was received. */
  query(lastTime: string | undefined): LogQuery
  open(query: LogQuery, signal: AbortSignal): AsyncIterable<ServerEvent<LogLine>>
  line(line: LogLine): void
  /** Nothing more will be written. */
  over(): boolean
  status(now: LogStatus): void
  sleep: Sleep
}

/** Read a log until it is over, resuming where a broken stream left off. Lines may come twice: the buffer drops them. */
export async function followLog(ports: LogPorts, signal: AbortSignal): Promise<void> {
  let lastTime: string | undefined
  let failures = 0
  while (!signal.aborted) {
    const overBefore = ports.over()
    try {
      ports.status('reading')
      for await (const { data } of ports.open(ports.query(lastTime), signal)) {
        if (signal.aborted) return
        failures = 0
        lastTime = data.time
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
