import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { ProblemError } from '../../../contract/index.ts'
import type { Blobs, Space, StreamKey, StreamRead, StreamRecord, Streams } from '../../store/store.ts'

/** TEST DOUBLE: files in memory, the same for every agent; `copies` says how many nodes took part. */
export class BlobsDouble implements Blobs {
  readonly #files = new Map<string, Buffer>()
  holders: string[]
  unreachable = false

  constructor(holders: string[]) {
    this.holders = holders
  }

  add(content: string | Buffer): { sha256: string; bytes: number } {
    const bytes = Buffer.from(content)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    this.#files.set(sha256, bytes)
    return { sha256, bytes: bytes.length }
  }

  async put(source: Readable, promised: { readonly sha256?: string } = {}) {
    const parts: Buffer[] = []
    for await (const part of source as AsyncIterable<Buffer>) parts.push(part)
    const content = Buffer.concat(parts)
    const sha256 = createHash('sha256').update(content).digest('hex')
    if (promised.sha256 !== undefined && promised.sha256 !== sha256)
      throw new ProblemError('invalid_request', `the body has the digest ${sha256}`)
    return this.add(content)
  }

  async size(sha256: string): Promise<number | undefined> {
    return this.#files.get(sha256)?.length
  }

  read(sha256: string, range?: { readonly start: number; readonly end: number }): Readable {
    const file = this.#files.get(sha256) ?? Buffer.alloc(0)
    const part = range ? file.subarray(range.start, range.end + 1) : file
    return Readable.from(inChunks(part))
  }

  async delete(sha256: string): Promise<void> {
    this.#files.delete(sha256)
  }

  async replicate(): Promise<string[]> {
    return this.holders
  }

  async open(
    sha256: string,
    _holders: readonly string[],
    range?: { readonly start: number; readonly end: number },
  ) {
    if (this.unreachable) throw new ProblemError('node_unreachable')
    const file = this.#files.get(sha256)
    if (!file) throw new ProblemError('not_found')
    return { bytes: file.length, body: this.read(sha256, range) }
  }
}

/** Uneven on purpose: lines and ranges must not depend on where a chunk ends. */
function* inChunks(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.length; at += 4093) yield content.subarray(at, at + 4093)
}

interface Kept {
  records: StreamRecord[]
  sealed: boolean
  waiting: Set<() => void>
}

/** TEST DOUBLE: streams in memory, the same for every agent. */
export class StreamsDouble implements Streams {
  readonly #streams = new Map<string, Kept>()
  copies = 2
  /** Reading from it fails, as when every holder is off. */
  readonly lost = new Set<string>()

  async append(key: StreamKey, records: readonly object[]) {
    const kept = this.#kept(key)
    for (const value of records) {
      const next = (kept.records.at(-1)?.next ?? 0) + JSON.stringify(value).length + 1
      kept.records.push({ next, value })
    }
    this.#wake(kept)
    return { size: kept.records.at(-1)?.next ?? 0, copies: this.copies }
  }

  async size(key: StreamKey) {
    return this.#streams.get(nameOf(key))?.records.at(-1)?.next
  }

  async *read(key: StreamKey, { from, follow, tail, signal }: StreamRead): AsyncGenerator<StreamRecord> {
    if (this.lost.has(nameOf(key))) throw new ProblemError('node_unreachable', `nobody holds ${nameOf(key)}`)
    const kept = this.#streams.get(nameOf(key))
    if (!kept) throw new ProblemError('not_found')
    let at = tail === undefined ? kept.records.findIndex((record) => record.next > from) : -1
    if (at < 0) at = Math.max(0, kept.records.length - (tail ?? 0))
    for (;;) {
      for (; at < kept.records.length && !signal?.aborted; at++) yield kept.records[at] as StreamRecord
      if (!follow || kept.sealed || signal?.aborted) return
      await new Promise<void>((resolve) => {
        kept.waiting.add(resolve)
        signal?.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }

  async last(key: StreamKey) {
    return this.#streams.get(nameOf(key))?.records.at(-1)
  }

  async seal(key: StreamKey) {
    const kept = this.#kept(key)
    kept.sealed = true
    this.#wake(kept)
    return { sha256: '0'.repeat(64), bytes: kept.records.at(-1)?.next ?? 0, holders: ['node-1'] }
  }

  async delete(task: string) {
    for (const name of this.#streams.keys()) if (name.startsWith(`${task}/`)) this.#streams.delete(name)
  }

  #kept(key: StreamKey): Kept {
    const known = this.#streams.get(nameOf(key))
    if (known) return known
    const made: Kept = { records: [], sealed: false, waiting: new Set() }
    this.#streams.set(nameOf(key), made)
    return made
  }

  #wake(kept: Kept): void {
    for (const resolve of kept.waiting) resolve()
    kept.waiting.clear()
  }
}

const nameOf = ({ task, attempt, kind }: StreamKey) => `${task}/${attempt}.${kind}`

/** TEST DOUBLE: a disk whose fullness the test decides. */
export class SpaceDouble implements Space {
  full = false
  check(): void {
    if (this.full) throw new ProblemError('disk_low', '1 GiB free, 2 GiB is the floor')
  }
  low(): boolean {
    return this.full
  }
}
