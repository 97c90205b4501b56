import { setTimeout as delay } from 'node:timers/promises'
import type { ExperimentRow } from '../../cluster/state.ts'
import type { Found } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'
import type { StopCause } from './records.ts'

/** Why an attempt is to end, and how long it has from SIGTERM to SIGKILL; the reason of the signal that asks for it. */
export interface StopOrder {
  readonly cause: StopCause
  readonly graceSeconds: number
}

/** What the experiment says of its own grace. */
export function graceOf({ spec }: Pick<ExperimentRow, 'spec'>, timing: { readonly grace: number }): number {
  return spec.grace_seconds ?? timing.grace / 1000
}

/** Stops a running attempt when somebody asks or when its time is up, and notes why before it does. */
export async function stopWhenDue(
  attempt: Attempt,
  found: Found,
  { runtime, timing, log }: RunnerContext,
  requested: AbortSignal,
  signal: AbortSignal,
): Promise<void> {
  const { stopped, graceSeconds = graceOf(attempt.experiment, timing) } = attempt.record
  const order = stopped
    ? { cause: stopped, graceSeconds }
    : ((await stopOrder(attempt, found, requested, signal)) ?? {
        cause: 'timeout' as const,
        graceSeconds: graceOf(attempt.experiment, timing),
      })
  signal.throwIfAborted()
  await attempt.save({ stopped: order.cause, graceSeconds: order.graceSeconds })
  for (;;) {
    try {
      return await runtime.stop(found, order.graceSeconds)
    } catch (error) {
      signal.throwIfAborted()
      log.warn({ err: error, task: attempt.task.id }, 'could not be stopped just now; trying again')
      await delay(timing.retry, undefined, { signal })
    }
  }
}

/**
 * What was asked for; undefined when its time is up. Counted from its start by this host's clock, so that a restart
 * of the agent gives no more time.
 */
async function stopOrder(
  { limitSeconds, record }: Attempt,
  found: Found,
  requested: AbortSignal,
  signal: AbortSignal,
): Promise<StopOrder | undefined> {
  const startedAt = found.startedAt ?? record.startedAt
  const due = limitSeconds !== null && startedAt ? Date.parse(startedAt) + limitSeconds * 1000 : Infinity
  const either = AbortSignal.any([signal, requested])
  while (!either.aborted && Date.now() < due)
    // The clock may be set meanwhile, and timers cannot be set for more than some weeks.
    await delay(Math.min(due - Date.now(), 60_000), undefined, { signal: either }).catch(() => undefined)
  return requested.aborted ? (requested.reason as StopOrder) : undefined
}
