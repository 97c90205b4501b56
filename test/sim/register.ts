import { crc32c } from '../../raft/crc32c.ts'
import type { KeyValue, KvOp } from '../../raft/disk.ts'
import type { Applied, StateMachine } from '../../raft/driver-api.ts'
import type { SessionRow } from '../../raft/sessions.ts'
import type { Index } from '../../raft/types.ts'

/** A command of a client's. `cas` with null writes only where nothing is. */
export type Command =
  | readonly ['put', key: string, value: string]
  | readonly ['cas', key: string, expect: string | null, value: string]

export const encode = (c: Command): Uint8Array => Buffer.from(JSON.stringify(c))
const decode = (data: Uint8Array): Command =>
  JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString()) as Command

interface Image {
  readonly at: Index
  /** Of every command ever applied, in order: equal only where the same has happened. */
  readonly digest: number
  readonly values: readonly (readonly [string, string])[]
}

const META = 'meta'

/** The replicated object: registers by key, with a durable copy on the member's disk. */
export class Registers implements StateMachine {
  readonly #kv: KeyValue
  readonly #onApply: (e: Applied, digest: number) => void
  #values = new Map<string, string>()
  #rows: Map<string, Buffer>
  #dirty = new Set<string>()
  #index: Index
  digest: number
  readonly applied: Index

  private constructor(
    kv: KeyValue,
    meta: { applied: Index; at: Index; digest: number },
    onApply: (e: Applied, digest: number) => void,
  ) {
    this.#kv = kv
    this.#onApply = onApply
    this.#rows = new Map()
    this.#index = meta.at
    this.digest = meta.digest
    this.applied = meta.applied
  }

  static async open(kv: KeyValue, onApply: (e: Applied, digest: number) => void): Promise<Registers> {
    const found = await kv.get(META)
    const meta = found
      ? (JSON.parse(found.toString()) as { applied: Index; at: Index; digest: number })
      : { applied: 0, at: 0, digest: 0 }
    const machine = new Registers(kv, meta, onApply)
    for await (const [key, value] of kv.range('k/', 'k0')) machine.#values.set(key.slice(2), value.toString())
    for await (const [key, value] of kv.range('s/', 's0')) machine.#rows.set(key.slice(2), value)
    return machine
  }

  get(key: string): string | null {
    return this.#values.get(key) ?? null
  }

  async sessions(): Promise<readonly SessionRow[]> {
    return [...this.#rows].map(([key, value]) => ({ key, value }))
  }

  apply(entry: Applied): Uint8Array {
    this.#index = entry.index
    this.digest = crc32c(entry.data, (this.digest + entry.index) >>> 0)
    this.#onApply(entry, this.digest)
    return Buffer.from(JSON.stringify(this.#run(decode(entry.data))))
  }

  #run(c: Command): boolean {
    const [kind, key] = c
    if (kind === 'cas' && this.get(key) !== c[2]) return false
    this.#values.set(key, kind === 'put' ? c[2] : c[3])
    this.#dirty.add(key)
    return true
  }

  async flush(applied: Index, rows: readonly SessionRow[], sync: boolean): Promise<void> {
    const ops = this.#rowOps(rows)
    for (const key of this.#dirty) ops.push(put(`k/${key}`, this.get(key) ?? ''))
    this.#dirty = new Set()
    ops.push(this.#meta(applied))
    await this.#kv.batch(ops, sync)
  }

  #meta(applied: Index): KvOp {
    return put(META, JSON.stringify({ applied, at: this.#index, digest: this.digest }))
  }

  #rowOps(rows: readonly SessionRow[]): KvOp[] {
    return rows.map(({ key, value }): KvOp => {
      if (value) this.#rows.set(key, Buffer.from(value))
      else this.#rows.delete(key)
      return value ? { type: 'put', key: `s/${key}`, value } : { type: 'del', key: `s/${key}` }
    })
  }

  snapshot(): { readonly index: Index; readonly data: AsyncIterable<Uint8Array> } {
    const image: Image = { at: this.#index, digest: this.digest, values: [...this.#values] }
    const bytes = Buffer.from(JSON.stringify(image))
    async function* data() {
      for (let at = 0; at < bytes.length; at += 300) yield bytes.subarray(at, at + 300)
    }
    return { index: this.#index, data: data() }
  }

  async restore(index: Index, rows: readonly SessionRow[], data: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = []
    for await (const piece of data) pieces.push(piece)
    const image = JSON.parse(Buffer.concat(pieces).toString()) as Image
    const ops: KvOp[] = [...this.#values.keys()].map((key) => ({ type: 'del', key: `k/${key}` }))
    for (const key of this.#rows.keys()) ops.push({ type: 'del', key: `s/${key}` })
    this.#rows = new Map()
    this.#values = new Map(image.values)
    this.#dirty = new Set()
    this.#index = image.at
    this.digest = image.digest
    for (const [key, value] of this.#values) ops.push(put(`k/${key}`, value))
    ops.push(...this.#rowOps(rows), this.#meta(index))
    await this.#kv.batch(ops, true)
  }
}

const put = (key: string, text: string): KvOp => ({ type: 'put', key, value: Buffer.from(text) })
