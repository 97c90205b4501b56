import { ProblemError } from '../../contract/index.ts'
import { newline } from './disk.ts'
import { ask, chunksOf, type Group, living, pause } from './peer-io.ts'
import type { StreamFile } from './stream-file.ts'
import { following } from './stream-handler.ts'
import { type LocalStreams, streamName } from './streams.ts'
import type { StreamTiming } from './stream-writer.ts'
import type { StreamKey, StreamRead, StreamRecord } from './store.ts'

/** Rounds without any progress before a read that does not follow gives up. */
const fruitlessRounds = 3

/** A copy that has begun to answer. */
interface Source {
  /** Where its body begins. */
  readonly from: number
  readonly size: number
  readonly sealed: boolean
  readonly body: AsyncIterable<Buffer>
}

/** Reads one stream from whichever copy is best, and from the next at the same byte when that one dies. */
export class StreamReader {
  readonly #local: LocalStreams
  readonly #group: Group
  readonly #timing: StreamTiming
  readonly #key: StreamKey
  readonly #options: StreamRead
  readonly #signal: AbortSignal
  #at: number
  #tail: number | undefined

  constructor(
    local: LocalStreams,
    group: Group,
    timing: StreamTiming,
    key: StreamKey,
    options: StreamRead,
    closed: AbortSignal,
  ) {
    this.#local = local
    this.#group = group
    this.#timing = timing
    this.#key = key
    this.#options = options
    this.#signal = options.signal ? AbortSignal.any([options.signal, closed]) : closed
    this.#at = options.from
    this.#tail = options.tail
  }

  /** Ends quietly when the signal aborts. */
  async *records(): AsyncGenerator<StreamRecord> {
    let fruitless = 0
    let goal = 0
    while (!this.#signal.aborted) {
      const before = this.#at
      const source = await this.#find(goal)
      if (source) {
        this.#at = this.#tail === undefined ? this.#at : source.from
        this.#tail = undefined
        goal = Math.max(goal, source.size)
        yield* this.#drain(source)
        if (this.#ended(source, goal)) return
      } else if (!this.#options.follow && this.#at >= goal) return
      fruitless = this.#at > before ? 0 : fruitless + 1
      if (!this.#options.follow && fruitless >= fruitlessRounds)
        throw new ProblemError('node_unreachable', 'The rest of the stream is on no reachable agent')
      if (fruitless > 0) await this.#wait()
    }
  }

  #ended(source: Source, goal: number): boolean {
    if (this.#options.follow) return source.sealed && this.#at >= source.size
    return this.#at >= goal
  }

  /** Something may come at any time here; elsewhere it has to be asked for. */
  async #wait(): Promise<void> {
    if (this.#options.nodes[0] !== this.#group.self) await pause(this.#timing.retryMs, this.#signal)
    else await (await this.#local.file(this.#key)).changed(this.#signal, this.#timing.retryMs)
  }

  async *#drain(source: Source): AsyncGenerator<StreamRecord> {
    try {
      for await (const record of recordsOf(source.body, this.#at)) {
        this.#at = record.next
        if (record.value !== undefined) yield record
        if (this.#signal.aborted) return
      }
    } catch (error) {
      // The copy was lost on the way: the next one goes on. Anything else is for the caller.
      if (error instanceof ProblemError && error.code !== 'node_unreachable') throw error
    }
  }

  /** The node that runs it, or a sealed copy, before any other; this agent's own before asking around. */
  async #find(goal: number): Promise<Source | undefined> {
    const { nodes, follow } = this.#options
    const { self } = this.#group
    const here = await this.#local.find(this.#key)
    if (here && (here.sealed || nodes[0] === self || nodes.length === 0)) return this.#here(here, follow)
    const others = nodes.filter((node) => node !== self)
    let unreachable = 0
    for (const node of living(this.#group, others)) {
      try {
        const source = await this.#there(node, follow && node === nodes[0])
        // Another's copy that has nothing new is of no use, unless it is the end or its writer is behind it.
        if (source.sealed || node === nodes[0] || source.size > this.#at) return source
      } catch (error) {
        if (this.#signal.aborted) return undefined
        if (error instanceof ProblemError && error.code === 'invalid_request') throw error
        if (!(error instanceof ProblemError && error.code === 'not_found')) unreachable += 1
      }
    }
    if (here && (here.size > this.#at || this.#tail !== undefined)) return this.#here(here, false)
    const nothingRead = this.#at === this.#options.from && goal === 0
    if (unreachable > 0 && !here && !follow && nothingRead)
      throw new ProblemError('node_unreachable', 'No reachable agent has the stream')
    return undefined
  }

  async #here(file: StreamFile, follow: boolean): Promise<Source> {
    const from = this.#tail === undefined ? this.#at : await file.tailStart(this.#tail)
    await file.checkStart(from)
    const body = follow ? following(file, from, this.#signal) : file.bytes(from, file.size)
    return {
      from,
      body,
      // As they are when asked: it may grow and be sealed while the body is read.
      get size() {
        return file.size
      },
      get sealed() {
        return file.sealed !== undefined
      },
    }
  }

  async #there(node: string, follow: boolean): Promise<Source> {
    const where = this.#tail === undefined ? `from=${this.#at}` : `tail=${this.#tail}`
    const path = `/streams/${streamName(this.#key)}?${where}${follow ? '&follow=1' : ''}`
    const { headers, body } = await ask(this.#group.peers, node, {
      method: 'GET',
      path,
      signal: this.#signal,
    })
    body.on('error', () => undefined)
    return {
      from: Number(headers['x-from']),
      size: Number(headers['x-size']),
      sealed: headers['x-sealed'] !== undefined,
      body: chunksOf(body, this.#timing.idleMs, this.#signal),
    }
  }
}

/** Whole records; `value` is undefined for a line that no crash should have left: it is passed over. */
export async function* recordsOf(body: AsyncIterable<Buffer>, from: number): AsyncGenerator<StreamRecord> {
  let at = from
  let rest: Buffer[] = []
  for await (const block of body) {
    let start = 0
    for (let end; (end = block.indexOf(newline, start)) !== -1; start = end + 1) {
      const line = Buffer.concat([...rest, block.subarray(start, end)])
      rest = []
      // An empty line is a sign of life between agents, never a record.
      if (line.length === 0) continue
      at += line.length + 1
      yield { next: at, value: parse(line) }
    }
    if (start < block.length) rest.push(block.subarray(start))
  }
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString())
  } catch {
    return undefined
  }
}
