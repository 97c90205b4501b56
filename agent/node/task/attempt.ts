import os from 'node:os'
import type { TaskReport } from '../../cluster/commands.ts'
import type { ExperimentRow, TaskRow } from '../../cluster/state.ts'
import { milliseconds } from '../log/time.ts'
import { bootId } from '../process/proc.ts'
import type { Exit, Found } from '../runtime.ts'
import type { Finished } from './finish.ts'
import { outcomeOf } from './outcome.ts'
import type { AttemptRecord, AttemptRecords } from './records.ts'

/** What a runner takes over: a new placement, or what an earlier agent of this node left. */
export interface Taken {
  readonly task: TaskRow
  readonly experiment: ExperimentRow
  readonly record: AttemptRecord
  readonly found: Found | undefined
  /** From its start, by its spec or its queue; null: no bound. */
  readonly limitSeconds: number | null
}

/** One attempt on this node: what the cluster wants, what the host has of it, and the notes kept in between. */
export class Attempt {
  readonly task: TaskRow
  readonly experiment: ExperimentRow
  readonly limitSeconds: number | null
  /** The host's container or process, once there is one. */
  found: Found | undefined
  /** When its newest Kerberos ticket ends, ms; unknown after a restart of the agent. */
  ticketUntil: number | undefined
  readonly #records: AttemptRecords
  #record: AttemptRecord
  #saving: Promise<void> = Promise.resolve()

  constructor(records: AttemptRecords, { task, experiment, record, found, limitSeconds }: Taken) {
    this.#records = records
    this.task = task
    this.experiment = experiment
    this.#record = record
    this.found = found
    this.limitSeconds = limitSeconds
  }

  get record(): AttemptRecord {
    return this.#record
  }

  /** On disk when it resolves. Changes are written one after the other. */
  save(change: Partial<AttemptRecord>): Promise<void> {
    const saved = this.#saving.then(async () => {
      const record = { ...this.#record, ...change }
      await this.#records.put(record)
      this.#record = record
    })
    this.#saving = saved.catch(() => undefined)
    return saved
  }

  async ended(exit: Exit): Promise<void> {
    await this.save({ phase: 'ended', exit: this.#explained(exit) })
  }

  /** An engine tells only some exit code of a container that was killed, or ended with the host. */
  #explained(exit: Exit): Exit {
    if (this.#record.mismatch) return { ...exit, failure: this.#record.mismatch }
    const rebooted = this.#record.bootId !== bootId()
    const before = Date.parse(exit.finishedAt) < Date.now() - os.uptime() * 1000
    if (exit.failure || exit.exitCode === 0 || !rebooted || before) return exit
    return {
      ...exit,
      failure: { code: 'host_restarted', message: 'The host was restarted while it ran.' },
    }
  }

  report(state: TaskReport['state'], startedAt: string | null = null): TaskReport {
    return {
      type: 'task.report',
      task: this.task.id,
      attempt: this.task.attempt,
      node: this.task.node ?? '',
      state,
      ...(startedAt ? { started_at: milliseconds(startedAt) } : {}),
    }
  }

  runningReport({ startedAt, imageId }: Found): TaskReport {
    return { ...this.report('Running', startedAt), ...(imageId ? { image_id: imageId } : {}) }
  }

  finalReport(finished: Finished): TaskReport {
    const { exit, stopped, startedAt } = this.#record
    if (!exit) throw new Error('an attempt without an end cannot be reported')
    const { rescued, artifacts, log, metrics } = finished
    const outcome = outcomeOf(exit, stopped, {
      resources: this.task.resources,
      timeoutSeconds: this.limitSeconds,
    })
    const reason = rescued
      ? {
          code: 'output_not_kept',
          message: `It ended (${outcome.reason?.message ?? 'exit code 0'}), but its output could not be kept: ${rescued.why}. It lies in ${rescued.folder} on this node.`,
        }
      : outcome.reason
    return {
      ...this.report(rescued ? 'Failed' : outcome.state, startedAt),
      ...(reason ? { reason } : {}),
      ...(this.found?.imageId ? { image_id: this.found.imageId } : {}),
      exit_code: exit.exitCode,
      finished_at: milliseconds(exit.finishedAt),
      artifacts,
      log,
      metrics,
    }
  }
}

/** The end of an attempt that never ran. */
export function notRun(failure: Exit['failure']): Exit {
  return { exitCode: null, oomKilled: false, failure, finishedAt: new Date().toISOString() }
}
