import { setTimeout as delay } from 'node:timers/promises'
import type { Found } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'
import type { StopCause } from './records.ts'

/** Stops a running attempt when somebody asks or when its time is up, and notes why before it does. */
export async function stopWhenDue(
  attempt: Attempt,
  found: Found,
  { runtime, timing, log }: RunnerContext,
  requested: AbortSignal,
  signal: AbortSignal,
): Promise<void> {
  const cause = attempt.record.stopped ?? (await stopCause(attempt, found, requested, signal))
  signal.throwIfAborted()
  await attempt.save({ stopped: cause })
  for (;;) {
    try {
      return await runtime.stop(found, timing.grace / 1000)
    } catch (error) {
      signal.throwIfAborted()
      log.warn({ err: error, task: attempt.task.id }, 'could not be stopped just now; trying again')
      await delay(timing.retry, undefined, { signal })
    }
  }
}

/** Counted from its start by this host's clock, so that a restart of the agent gives no more time. */
async function stopCause(
  { experiment, record }: Attempt,
  found: Found,
  requested: AbortSignal,
  signal: AbortSignal,
): Promise<StopCause> {
  const seconds = experiment.spec.timeout_seconds
  const startedAt = found.startedAt ?? record.startedAt
  const due = seconds !== undefined && startedAt ? Date.parse(startedAt) + seconds * 1000 : Infinity
  const either = AbortSignal.any([signal, requested])
  while (!either.aborted && Date.now() < due)
    // The clock may be set meanwhile, and timers cannot be set for more than some weeks.
    await delay(Math.min(due - Date.now(), 60_000), undefined, { signal: either }).catch(() => undefined)
  return requested.aborted ? 'requested' : 'timeout'
}
