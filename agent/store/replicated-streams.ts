import type { Logger } from 'pino'
import type { Group } from './peer-io.ts'
import { streamHandler } from './stream-handler.ts'
import { recordsOf, StreamReader } from './stream-reader.ts'
import { StreamWriter, type StreamTiming } from './stream-writer.ts'
import { type LocalStreams, streamName } from './streams.ts'
import type { StreamKey, StreamRead, StreamRecord, Streams } from './store.ts'

export interface ReplicatedStreamsOptions extends Group {
  readonly local: LocalStreams
  readonly log: Logger
  readonly timing?: Partial<StreamTiming>
}

const usualTiming: StreamTiming = { delayMs: 150, retryMs: 500, idleMs: 10_000, beatMs: 2_000 }

/** The streams of attempts: written by the node that runs them, copied to a second, read from anywhere. */
export class ReplicatedStreams implements Streams {
  readonly local: LocalStreams
  readonly #group: Group
  readonly #log: Logger
  readonly #timing: StreamTiming
  readonly #writers = new Map<string, Promise<StreamWriter>>()
  readonly #closed = new AbortController()

  constructor(options: ReplicatedStreamsOptions) {
    this.local = options.local
    this.#group = options
    this.#log = options.log
    this.#timing = { ...usualTiming, ...options.timing }
    options.peers.serve('/streams/', streamHandler(options.local, this.#timing.beatMs))
  }

  async append(key: StreamKey, records: readonly object[], copies: 1 | 2) {
    this.local.checkSpace('running')
    if (records.length === 0) return { size: (await this.local.file(key)).size, copies: 1 }
    const lines = Buffer.from(records.map((record) => JSON.stringify(record) + '\n').join(''))
    return (await this.#writer(key)).append(lines, copies)
  }

  async size(key: StreamKey): Promise<number | undefined> {
    return (await this.local.find(key))?.size
  }

  read(key: StreamKey, options: StreamRead): AsyncIterable<StreamRecord> {
    const { signal } = this.#closed
    return new StreamReader(this.local, this.#group, this.#timing, key, options, signal).records()
  }

  async last(key: StreamKey): Promise<StreamRecord | undefined> {
    const file = await this.local.find(key)
    if (!file) return undefined
    const from = await file.tailStart(1)
    for await (const record of recordsOf(file.bytes(from, file.size), from)) return record
    return undefined
  }

  async seal(key: StreamKey, signal?: AbortSignal) {
    const sealed = await (await this.#writer(key)).seal(signal)
    // With a single holder its writer goes on copying behind.
    if (sealed.holders.length > 1) this.#writers.delete(streamName(key))
    return sealed
  }

  async delete(task: string): Promise<void> {
    for (const [name, writer] of this.#writers) {
      if (!name.startsWith(`${task}/`)) continue
      this.#writers.delete(name)
      await (await writer).close()
    }
    await this.local.delete(task)
  }

  /** Delete this agent's copy of one stream. */
  async remove(key: StreamKey): Promise<void> {
    const name = streamName(key)
    const writer = this.#writers.get(name)
    this.#writers.delete(name)
    await (await writer)?.close()
    await this.local.remove(key)
  }

  /** Ends readers and copying. */
  async close(): Promise<void> {
    this.#closed.abort()
    await Promise.all([...this.#writers.values()].map(async (writer) => (await writer).close()))
    this.#writers.clear()
    await this.local.close()
  }

  #writer(key: StreamKey): Promise<StreamWriter> {
    const name = streamName(key)
    const known = this.#writers.get(name)
    if (known) return known
    const made = this.local
      .file(key)
      .then((file) => new StreamWriter(file, name, this.#group, this.#timing, this.#log))
    this.#writers.set(name, made)
    made.catch(() => this.#writers.delete(name))
    return made
  }
}
