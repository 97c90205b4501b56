import type { ServerEvent } from '../../contract/client.ts'
import type { WatchEvent } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { backOff, type Sleep } from '../api/retry.ts'

/** connecting: nothing known yet; live: changes flow; lost: the agent does not answer, retrying. */
export type Connection = 'connecting' | 'live' | 'lost'

export interface WatchPorts {
  /** Read everything, show it, and answer the version to watch from. */
  list(signal: AbortSignal): Promise<number>
  open(after: number, signal: AbortSignal): AsyncIterable<ServerEvent<WatchEvent>>
  change(event: WatchEvent): void
  connection(now: Connection): void
  sleep: Sleep
}

/** A stream silent for so long is taken for dead: a host without power closes no connection. */
const silenceLimit = 15_000

/**
 * Keeps one watch stream open until `signal` aborts or the session ends: resumes after the last version seen, lists
 * again when that version is no longer kept (410), backs off while nobody answers.
 */
export async function watchCluster(ports: WatchPorts, signal: AbortSignal): Promise<void> {
  let after: number | undefined
  let failures = 0
  while (!signal.aborted) {
    const attempt = new AbortController()
    const stop = () => attempt.abort()
    signal.addEventListener('abort', stop)
    let timer: ReturnType<typeof setTimeout> | undefined
    try {
      after ??= await ports.list(attempt.signal)
      ports.connection('live')
      timer = setTimeout(stop, silenceLimit)
      for await (const { id, data } of ports.open(after, attempt.signal)) {
        if (signal.aborted) return
        clearTimeout(timer)
        timer = setTimeout(stop, silenceLimit)
        failures = 0
        ports.connection('live')
        ports.change(data)
        after = versionOf(id, data) ?? after
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof ProblemError && error.code === 'unauthenticated') return
      if (error instanceof ProblemError && error.code === 'watch_expired') after = undefined
      else ports.connection('lost')
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
    await ports.sleep(backOff(failures++), signal)
  }
}

function versionOf(id: string | undefined, event: WatchEvent): number | undefined {
  if (event.kind === 'bookmark') return event.object.resource_version
  const version = Number(id)
  return id !== undefined && Number.isSafeInteger(version) ? version : undefined
}
