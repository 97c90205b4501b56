import { setTimeout as delay } from 'node:timers/promises'
import type { Found } from '../runtime.ts'
import type { Attempt } from './attempt.ts'
import type { RunnerContext } from './context.ts'

/**
 * Ends a task that sees other GPUs than its own: a wrongly configured engine shows all of them, and one whose systemd
 * was reloaded takes them away. Those without GPUs are looked at once, others as long as they run.
 */
export async function endOnWrongDevices(
  attempt: Attempt,
  found: Found,
  { runtime, timing, log }: RunnerContext,
  signal: AbortSignal,
): Promise<void> {
  const { gpus, id } = attempt.task
  for (;;) {
    // An engine that is away, or a container that just ended, says nothing of devices.
    const wrong = await runtime.wrongDevices?.(found, gpus).catch(() => undefined)
    signal.throwIfAborted()
    if (wrong) {
      log.error({ task: id, code: wrong.code }, wrong.message)
      await attempt.save({ mismatch: wrong })
      return await runtime.stop(found, 0)
    }
    if (!gpus.length || !runtime.wrongDevices) return
    await delay(timing.devices, undefined, { signal })
  }
}
