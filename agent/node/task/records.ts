import { mkdir, readdir, rename } from 'node:fs/promises'
import path from 'node:path'
import type { Reason, RuntimeName } from '../../../contract/index.ts'
import type { TaskReport } from '../../cluster/commands.ts'
import { absent, readJson, removeFile, writeJson } from '../files.ts'
import { attemptKey } from '../key.ts'
import type { Exit } from '../runtime.ts'

/**
 * This agent's notes of an attempt: written before what they announce is done, so that an agent that is killed at any
 * point goes on from there.
 */
export interface AttemptRecord {
  readonly v: 1
  readonly task: string
  readonly attempt: number
  readonly workload: string
  readonly runtime: RuntimeName
  /** With which the task calls the API; the cluster knows only its digest. */
  readonly token: string
  /** The boot of the host in which it was started. */
  readonly bootId: string
  /**
   * preparing: nothing was started. starting: it may have been. running: it was.
   * ended: how is known, its output is being kept. collected: the final report is ready.
   */
  readonly phase: 'preparing' | 'starting' | 'running' | 'ended' | 'collected'
  readonly startedAt: string | null
  /** Why this agent ended it, if it did. */
  readonly stopped: StopCause | null
  /** From SIGTERM to SIGKILL when this agent ends it; absent: not said yet. */
  readonly graceSeconds?: number
  /** It saw other devices than its own and was ended for it. */
  readonly mismatch?: Reason
  readonly exit: Exit | null
  readonly report: TaskReport | null
}

/** requested: somebody stops it for good; evicted: it leaves this node; lease: nobody was heard for too long. */
export type StopCause = 'requested' | 'timeout' | 'evicted' | 'lease'

/** The notes, a small file each in one folder. */
export class AttemptRecords {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
  }

  async all(): Promise<AttemptRecord[]> {
    const names = (await readdir(this.#folder)).filter((name) => name.endsWith('.json'))
    return (await Promise.all(names.map((name) => this.#read(name)))).flatMap((record) => record ?? [])
  }

  async get(task: string, attempt: number): Promise<AttemptRecord | undefined> {
    return this.#read(fileName(task, attempt))
  }

  async put(record: AttemptRecord): Promise<void> {
    await writeJson(this.#at(fileName(record.task, record.attempt)), record)
  }

  async delete(task: string, attempt: number): Promise<void> {
    await removeFile(this.#at(fileName(task, attempt)))
  }

  async #read(name: string): Promise<AttemptRecord | undefined> {
    try {
      const record = (await readJson(this.#at(name))) as AttemptRecord | undefined
      return record?.v === 1 ? record : undefined
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      // Damaged by more than a crash: set aside for people; the runtime and the cluster still know the attempt.
      await rename(this.#at(name), this.#at(`${name}.damaged`)).catch(absent)
      return undefined
    }
  }

  #at(name: string): string {
    return path.join(this.#folder, name)
  }
}

const fileName = (task: string, attempt: number) => `${attemptKey(task, attempt)}.json`
