import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type Found, StartFailure } from './runtime.ts'
import { Attempt, notRun, type Taken } from './task/attempt.ts'
import type { RunnerContext } from './task/context.ts'
import { endOnWrongDevices } from './task/devices.ts'
import { finish } from './task/finish.ts'
import { renewTickets } from './task/ticket.ts'
import { launched, Unwanted } from './task/launch.ts'
import { deviceVariables } from './task/visible.ts'
import { LogKeeper } from './task/log-keeper.ts'
import { type StopOrder, stopWhenDue } from './task/stopper.ts'

/**
 * Takes one attempt from its placement to its final report. Every step is on record before it is taken, so that a
 * runner made after the agent was killed goes on where this one stood.
 */
export class TaskRunner {
  readonly #context: RunnerContext
  readonly #attempt: Attempt
  readonly #log: Logger
  readonly #left = new AbortController()
  readonly #stop = new AbortController()
  #following: Promise<void> | undefined
  /** Resolves when it has ended. */
  readonly #exited = Promise.withResolvers<void>()

  constructor(context: RunnerContext, taken: Taken) {
    this.#attempt = new Attempt(context.records, taken)
    this.#log = context.log.child({ task: taken.task.id, attempt: taken.task.attempt })
    this.#context = { ...context, log: this.#log }
  }

  /** Its end is known and will be told: it must not be given up for a change of the cluster's state. */
  get ending(): boolean {
    const { phase } = this.#attempt.record
    return phase === 'ended' || phase === 'collected'
  }

  /** It is to end here. What was ordered first stays. */
  stop(order: StopOrder): void {
    this.#stop.abort(order)
  }

  /** Let go of it as it is: `run` returns, the task goes on. */
  leave(): void {
    this.#left.abort()
  }

  /** Returns when the attempt is over and cleaned up, or when it was left. Never throws. */
  async run(): Promise<void> {
    const signal = this.#left.signal
    while (!signal.aborted)
      try {
        if (!this.ending) await this.#live(signal)
        if (this.#attempt.record.phase === 'ended') await this.#collect(signal)
        const { report } = this.#attempt.record
        if (report) await this.#context.reports.send(report, signal)
        return await this.#cleanUp()
      } catch (error) {
        if (signal.aborted) return
        if (error instanceof Unwanted) return await this.#cleanUp()
        this.#log.error({ err: error }, 'an attempt cannot go on just now; trying again')
        await delay(this.#context.timing.retry, undefined, { signal }).catch(() => undefined)
      }
  }

  /** From wherever it stands to its end. */
  async #live(signal: AbortSignal): Promise<void> {
    const attempt = this.#attempt
    try {
      const found = await launched(attempt, this.#context, signal, this.#stop.signal)
      if (attempt.record.phase !== 'running')
        await attempt.save({ phase: 'running', startedAt: found.startedAt })
      await this.#watch(found, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof StartFailure) {
        await attempt.ended(notRun({ code: error.code, message: error.message }))
      } else if (this.#stop.signal.aborted && attempt.record.phase !== 'running') {
        await attempt.save({ stopped: (this.#stop.signal.reason as StopOrder).cause })
        await attempt.ended(notRun(null))
      } else throw error
    }
  }

  async #watch(found: Found, signal: AbortSignal): Promise<void> {
    const { runtime, reports } = this.#context
    const attempt = this.#attempt
    const over = new AbortController()
    const watching = AbortSignal.any([signal, over.signal])
    this.#context.leases?.holds(attempt.task)
    this.#following ??= this.#followLog(found, signal)
    const side: Promise<unknown>[] = []
    if (!found.exit) {
      side.push(stopWhenDue(attempt, found, this.#context, this.#stop.signal, watching))
      side.push(endOnWrongDevices(attempt, found, this.#context, watching))
      side.push(renewTickets(attempt, this.#context, watching))
      // Sent along the way: a final report does not wait for it.
      if (attempt.task.state !== 'Running') side.push(reports.send(attempt.runningReport(found), watching))
    }
    // They end with the attempt, and what they throw then is that they were called off.
    const settled = Promise.allSettled(side)
    try {
      const exit = found.exit ?? (await runtime.wait(found, watching))
      this.#exited.resolve()
      const { id, attempt: number } = attempt.task
      if (!attempt.record.stopped && this.#context.leases?.endedByKeeper(id, number))
        await attempt.save({ stopped: 'lease' })
      await attempt.ended(exit)
    } finally {
      over.abort()
      await settled
    }
  }

  async #collect(signal: AbortSignal): Promise<void> {
    const { timing } = this.#context
    const attempt = this.#attempt
    this.#exited.resolve()
    if (attempt.found) await (this.#following ??= this.#followLog(attempt.found, signal))
    signal.throwIfAborted()
    const options = {
      ...this.#context,
      copyMs: timing.copyPatience,
      patienceMs: timing.keepPatience,
      retryMs: timing.retry,
    }
    const ignored = deviceVariables(attempt.experiment.spec.roles[attempt.task.role]?.env ?? {})
    const notes = ignored.map(
      (name) => `${name} of the experiment was not used: a task sees exactly the GPUs it was given`,
    )
    const finished = await finish(attempt.task.id, attempt.task.attempt, { ...options, notes }, signal)
    await attempt.save({ phase: 'collected', report: attempt.finalReport(finished) })
  }

  /** Resolves when the whole log is kept, or when the engine does not let go of the rest in time. */
  async #followLog(found: Found, signal: AbortSignal): Promise<void> {
    const { runtime, streams, node, timing } = this.#context
    const keeper = new LogKeeper({ runtime, streams, node, log: this.#log, retryMs: timing.retry })
    const over = new AbortController()
    const either = AbortSignal.any([signal, over.signal])
    const tooLate = async () => {
      await this.#exited.promise
      await delay(timing.drain, undefined, { signal: either })
      this.#log.warn('the log of an ended attempt could not be read to its end')
    }
    const following = keeper.follow(found, either)
    // Whatever is called off here was called off by us.
    await Promise.race([following, tooLate().catch(() => following)]).catch(() => undefined)
    over.abort()
    await following.catch(() => undefined)
  }

  /** What fails here is left to the reconciler's sweep. */
  async #cleanUp(): Promise<void> {
    const { runtime, folders, records, leases } = this.#context
    const { found, task } = this.#attempt
    try {
      if (found) await runtime.remove(found)
      await folders.remove(task.id, task.attempt)
      await records.delete(task.id, task.attempt)
      leases?.forget(task.id, task.attempt)
    } catch (error) {
      this.#log.warn({ err: error }, 'an ended attempt could not be cleaned up yet')
    }
  }
}
