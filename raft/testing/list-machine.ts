import type { Applied, StateMachine } from '../driver-api.ts'
import type { SessionRow } from '../sessions.ts'
import type { Index } from '../types.ts'

export interface Durable {
  applied: Index
  list: readonly string[]
  rows: Map<string, Uint8Array>
}

/** A state machine for tests: the list of all commands, so that a command that ran twice or not at all is seen. */
export class ListMachine implements StateMachine {
  readonly #durable: Durable
  #list: readonly string[]
  #index: Index
  failFlush: Error | undefined

  constructor(durable: Durable = { applied: 0, list: [], rows: new Map() }) {
    this.#durable = durable
    this.#list = durable.list
    this.#index = durable.applied
  }

  /** What a restart finds. */
  crashed(): ListMachine {
    return new ListMachine({ ...this.#durable, rows: new Map(this.#durable.rows) })
  }

  /** The durable part as text, and back: for a process that has to survive. */
  dump(): string {
    const { applied, list, rows } = this.#durable
    return JSON.stringify({
      applied,
      list,
      rows: [...rows].map(([k, v]) => [k, Buffer.from(v).toString('base64')]),
    })
  }
  static parse(text: string): Durable {
    const { applied, list, rows } = JSON.parse(text) as {
      applied: number
      list: string[]
      rows: [string, string][]
    }
    return { applied, list, rows: new Map(rows.map(([k, v]) => [k, Buffer.from(v, 'base64')])) }
  }

  get applied(): Index {
    return this.#durable.applied
  }
  get list(): readonly string[] {
    return this.#list
  }

  async sessions(): Promise<SessionRow[]> {
    return [...this.#durable.rows].map(([key, value]) => ({ key, value }))
  }

  apply(entry: Applied): Uint8Array {
    this.#list = [...this.#list, Buffer.from(entry.data).toString()]
    this.#index = entry.index
    return Buffer.from(String(this.#list.length))
  }

  async flush(applied: Index, rows: readonly SessionRow[]): Promise<void> {
    if (this.failFlush) throw this.failFlush
    const list = this.#list
    await Promise.resolve()
    this.#durable.applied = applied
    this.#durable.list = list
    for (const { key, value } of rows) {
      if (value) this.#durable.rows.set(key, value)
      else this.#durable.rows.delete(key)
    }
  }

  snapshot(): { index: Index; data: AsyncIterable<Uint8Array> } {
    const text = JSON.stringify(this.#list)
    async function* data() {
      for (let i = 0; i < text.length; i += 1000) yield Buffer.from(text.slice(i, i + 1000))
    }
    return { index: this.#index, data: data() }
  }

  async restore(index: Index, rows: readonly SessionRow[], data: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = []
    for await (const c of data) chunks.push(c)
    this.#list = JSON.parse(Buffer.concat(chunks).toString()) as string[]
    this.#index = index
    this.#durable.applied = index
    this.#durable.list = this.#list
    this.#durable.rows = new Map(rows.flatMap(({ key, value }) => (value ? [[key, value] as const] : [])))
  }
}
