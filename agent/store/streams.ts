import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { ProblemError } from '../../contract/index.ts'
import { syncFolder, whenAbsent } from './disk.ts'
import { StreamFile } from './stream-file.ts'
import type { Space, StreamKey } from './store.ts'

/** Running work may use up to this much of the free-space floor; the rest belongs to the cluster's own log. */
const runningShare = 0.25
const remembered = 1_000

/** A stream on this disk, as far as its name and times tell. */
export interface HeldStream extends StreamKey {
  /** Wall-clock ms of its last change. */
  readonly touched: number
}

/** Letters, digits, ".", "_", "-", first and last a letter or digit: a folder's name and never a path. */
const taskPattern = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?$/

/** `<task>/<attempt>.<kind>`: the stream's name in paths and between agents. */
export function streamName(key: StreamKey): string {
  const valid =
    taskPattern.test(key.task) &&
    Number.isSafeInteger(key.attempt) &&
    key.attempt > 0 &&
    ['log', 'metrics'].includes(key.kind)
  if (!valid)
    throw new ProblemError('invalid_request', 'No such stream: expected a task id, attempt and kind')
  return `${key.task}/${key.attempt}.${key.kind}`
}

/** The key of a name, undefined when it is none. */
export function parseStreamName(name: string): StreamKey | undefined {
  const parts = /^([^/]+)\/([1-9]\d{0,14})\.(log|metrics)$/.exec(name)
  if (!parts?.[1] || !taskPattern.test(parts[1])) return undefined
  return { task: parts[1], attempt: Number(parts[2]), kind: parts[3] as StreamKey['kind'] }
}

/** The streams on this disk: `<data>/streams/<task>/<attempt>.<kind>.jsonl`. */
export class LocalStreams {
  readonly #folder: string
  readonly #space: Space
  readonly #files = new Map<string, StreamFile>()
  #closed = false

  private constructor(data: string, space: Space) {
    this.#folder = path.join(data, 'streams')
    this.#space = space
  }

  /** `data` is the agent's data folder. Each stream is repaired when it is first asked for. */
  static async open(data: string, space: Space): Promise<LocalStreams> {
    const streams = new LocalStreams(data, space)
    await mkdir(streams.#folder, { recursive: true, mode: 0o700 })
    await syncFolder(data)
    return streams
  }

  /** The one object for this stream, whether or not there is a file yet. */
  async file(key: StreamKey): Promise<StreamFile> {
    const name = streamName(key)
    if (this.#closed) throw new ProblemError('busy', 'This agent is stopping')
    let file = this.#files.get(name)
    if (!file) {
      this.#trim()
      file = new StreamFile(path.join(this.#folder, name))
      this.#files.set(name, file)
    }
    return file.load()
  }

  /** The stream if this disk has it. */
  async find(key: StreamKey): Promise<StreamFile | undefined> {
    const name = streamName(key)
    if (!this.#files.has(name) && !(await stat(path.join(this.#folder, `${name}.jsonl`)).catch(whenAbsent)))
      return undefined
    const file = await this.file(key)
    return file.exists ? file : undefined
  }

  /** Whole lines at the end; durable when `sync`. Answers the new size. */
  async append(key: StreamKey, lines: Buffer, sync: boolean): Promise<number> {
    this.checkSpace('running')
    return (await this.file(key)).append(lines, sync)
  }

  /** Throws ProblemError `disk_low` when this disk takes no more of it: copies stop long before running work. */
  checkSpace(use: 'copies' | 'running'): void {
    this.#space.check(use === 'running' ? runningShare : 1)
  }

  async delete(task: string): Promise<void> {
    const prefix = path.dirname(streamName({ task, attempt: 1, kind: 'log' })) + '/'
    for (const [name, file] of this.#files) {
      if (!name.startsWith(prefix)) continue
      await file.forget()
      this.#files.delete(name)
    }
    await rm(path.join(this.#folder, task), { recursive: true, force: true })
  }

  /** Delete one stream of a task. */
  async remove(key: StreamKey): Promise<void> {
    const name = streamName(key)
    await this.#files.get(name)?.forget()
    this.#files.delete(name)
    const base = path.join(this.#folder, name)
    await rm(`${base}.sealed`, { force: true })
    await rm(`${base}.jsonl`, { force: true })
    // Gone with its last stream; with others in it, it stays.
    await rmdir(path.dirname(base)).catch(() => undefined)
  }

  async *list(): AsyncGenerator<HeldStream> {
    for (const task of await readdir(this.#folder)) {
      for (const file of await readdir(path.join(this.#folder, task)).catch(() => [])) {
        const key = file.endsWith('.jsonl') ? parseStreamName(`${task}/${file.slice(0, -6)}`) : undefined
        const found = key && (await stat(path.join(this.#folder, task, file)).catch(whenAbsent))
        if (found) yield { ...key, touched: found.mtimeMs }
      }
    }
  }

  /** Ends every reader that waits for more; what was acknowledged is on disk already. */
  async close(): Promise<void> {
    this.#closed = true
    const open = [...this.#files.values()]
    this.#files.clear()
    await Promise.all(open.map((file) => file.forget()))
  }

  #trim(): void {
    if (this.#files.size < remembered) return
    for (const [name, file] of this.#files) if (file.settled) this.#files.delete(name)
  }
}
