import type { KvOp } from './disk.ts'
import { batchKey, encodeBatch } from './records.ts'
import type { LogTail } from './tail.ts'
import type { Entry, Index } from './types.ts'

/** One database value: entries first … last, written by one append. */
export interface Batch {
  readonly key: string
  readonly first: Index
  readonly last: Index
}

/**
 * Which entries stand under which key. One value per append, not one per entry: a quarter of the cost. The list changes
 * when the operations are made, not when they are written: a compaction may run while an append is under way.
 */
export class Batches {
  #list: Batch[]

  constructor(list: Batch[] = []) {
    this.#list = list
  }

  /** Where new entries replace old ones, later batches go and the one that straddles the cut is written again. */
  place(entries: readonly Entry[], tail: LogTail): KvOp[] {
    const first = entries[0]
    if (!first) return []
    const ops: KvOp[] = []
    const put = (from: Index, batch: readonly Entry[]) => {
      this.#list.push({ key: batchKey(from), first: from, last: from + batch.length - 1 })
      ops.push({ type: 'put', key: batchKey(from), value: encodeBatch(batch) })
    }
    while ((this.#list.at(-1)?.last ?? 0) >= first.index) {
      const cut = this.#list.pop() as Batch
      ops.push({ type: 'del', key: cut.key })
      const from = Math.max(cut.first, tail.firstIndex)
      if (from < first.index) put(from, tail.slice(from, first.index, Infinity))
    }
    put(first.index, entries)
    return ops
  }

  /** Drops batches that lie wholly before or at `to`. */
  compact(to: Index): KvOp[] {
    const kept = this.#list.findIndex((b) => b.last > to)
    return this.#drop(kept < 0 ? this.#list.length : kept)
  }

  clear(): KvOp[] {
    return this.#drop(this.#list.length)
  }

  #drop(count: number): KvOp[] {
    const dropped = this.#list.slice(0, count)
    this.#list = this.#list.slice(count)
    return dropped.map(({ key }) => ({ type: 'del', key }))
  }
}
