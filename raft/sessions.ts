import { Reader, Writer, intLength } from './bytes.ts'
import { RaftError, type Entry, type Index } from './types.ts'

/**
 * Exactly-once commands (thesis 6.3). A client is registered by a log entry and named by that entry's index, so a
 * client id is never used twice and a forgotten session is told from a new one. The table is part of the replicated
 * state: every rule here must be deterministic.
 */
export interface SessionRow {
  readonly key: string
  /** Undefined deletes. */
  readonly value: Uint8Array | undefined
}

export type Command =
  | { readonly kind: 'register'; readonly nonce: string }
  | {
      readonly kind: 'command'
      readonly client: Index
      readonly seq: number
      /** The client waits for nothing below: answers down there may be forgotten. */
      readonly low: number
      readonly data: Uint8Array
    }

export type Outcome =
  | { readonly kind: 'registered'; readonly nonce: string; readonly client: Index }
  | { readonly kind: 'result'; readonly client: Index; readonly seq: number; readonly answer: Answer }
  /** The session was evicted: whether the command ran before is not known any more, so it does not run now. */
  | { readonly kind: 'expired'; readonly client: Index; readonly seq: number }
  | { readonly kind: 'stale' }

export interface Answer {
  readonly index: Index
  readonly result: Uint8Array
}

interface Session {
  low: number
  lastUsed: Index
  readonly answers: Map<number, Answer>
}

/** Not an option: members that evict differently would diverge. */
export const MAX_SESSIONS = 1024

export function encodeCommand(c: Command): Uint8Array {
  if (c.kind === 'register') return new Writer(64).byte(2).text(c.nonce).done()
  const { client, seq, low, data } = c
  const size = 1 + intLength(client) + intLength(seq) + intLength(low) + data.length
  return new Writer(size).byte(1).int(client).int(seq).int(low).raw(data).done()
}

export function decodeCommand(data: Uint8Array): Command {
  const r = new Reader(data)
  if (r.byte() === 2) return { kind: 'register', nonce: r.text() }
  return { kind: 'command', client: r.int(), seq: r.int(), low: r.int(), data: r.rest() }
}

export class Sessions {
  readonly #sessions = new Map<Index, Session>()
  readonly #dirty = new Set<Index>()

  constructor(rows: readonly SessionRow[] = []) {
    for (const { key, value } of rows) if (value) this.#sessions.set(Number(key), decodeSession(value))
  }

  /** Runs the entry's command unless it ran before. */
  apply(entry: Entry, run: (data: Uint8Array) => Uint8Array): Outcome {
    const c = decodeCommand(entry.data)
    if (c.kind === 'register') {
      this.#sessions.set(entry.index, { low: 1, lastUsed: entry.index, answers: new Map() })
      this.#dirty.add(entry.index)
      this.#evict()
      return { kind: 'registered', nonce: c.nonce, client: entry.index }
    }
    const { client, seq } = c
    const s = this.#sessions.get(client)
    if (!s) return { kind: 'expired', client, seq }
    s.lastUsed = entry.index
    this.#dirty.add(client)
    for (const low = Math.min(c.low, seq); s.low < low; s.low++) s.answers.delete(s.low)
    if (seq < s.low) return { kind: 'stale' }
    let answer = s.answers.get(seq)
    if (!answer) {
      answer = { index: entry.index, result: run(c.data) }
      s.answers.set(seq, answer)
    }
    return { kind: 'result', client, seq, answer }
  }

  answer(client: Index, seq: number): Answer | undefined {
    return this.#sessions.get(client)?.answers.get(seq)
  }

  has(client: Index): boolean {
    return this.#sessions.has(client)
  }

  get size(): number {
    return this.#sessions.size
  }

  /** What changed since the last call. */
  takeDirty(): SessionRow[] {
    const rows = [...this.#dirty].map((id) => this.#row(id))
    this.#dirty.clear()
    return rows
  }

  rows(): SessionRow[] {
    return [...this.#sessions.keys()].sort((a, b) => a - b).map((id) => this.#row(id))
  }

  #row(id: Index): SessionRow {
    const s = this.#sessions.get(id)
    return { key: String(id), value: s && encodeSession(s) }
  }

  #evict(): void {
    if (this.#sessions.size <= MAX_SESSIONS) return
    let oldest: [Index, Session] | undefined
    for (const entry of this.#sessions) if (!oldest || entry[1].lastUsed < oldest[1].lastUsed) oldest = entry
    if (!oldest) return
    this.#sessions.delete(oldest[0])
    this.#dirty.add(oldest[0])
  }
}

function encodeSession(s: Session): Uint8Array {
  const w = new Writer(256).int(s.low).int(s.lastUsed).int(s.answers.size)
  inOrder(s.answers).forEach((a, seq) => w.int(seq).int(a.index).bytes(a.result))
  return w.done()
}

/** They are so already, unless commands were sent again: then a sort would cost more than all the rest. */
function inOrder(answers: ReadonlyMap<number, Answer>): ReadonlyMap<number, Answer> {
  let last = 0
  let sorted = true
  answers.forEach((_, seq) => {
    sorted &&= seq > last
    last = seq
  })
  return sorted ? answers : new Map([...answers].sort((x, y) => x[0] - y[0]))
}

function decodeSession(value: Uint8Array): Session {
  const r = new Reader(value)
  const s: Session = { low: r.int(), lastUsed: r.int(), answers: new Map() }
  for (let n = r.count(); n > 0; n--) s.answers.set(r.int(), { index: r.int(), result: r.bytes() })
  return s
}

/** A snapshot's bytes: [length u32][rows] and then the state machine's own image. */
export async function* withRows(
  rows: readonly SessionRow[],
  image: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  const w = new Writer(4096).u32(0).int(rows.length)
  for (const { key, value } of rows) w.text(key).bytes(value ?? new Uint8Array(0))
  yield w.setU32(0, w.length - 4).done()
  yield* image
}

export async function splitRows(
  data: AsyncIterable<Uint8Array>,
): Promise<{ rows: SessionRow[]; image: AsyncIterable<Uint8Array> }> {
  const it = data[Symbol.asyncIterator]()
  let head: Buffer = Buffer.alloc(0)
  const need = async (n: number) => {
    while (head.length < n) {
      const next = await it.next()
      if (next.done) throw new RaftError('codec', 'the snapshot ends within its session table')
      head = Buffer.concat([head, next.value])
    }
  }
  await need(4)
  const end = 4 + head.readUInt32LE(0)
  await need(end)
  const r = new Reader(head.subarray(4, end))
  const rows: SessionRow[] = []
  for (let n = r.count(); n > 0; n--) rows.push({ key: r.text(), value: r.bytes() })
  const rest = head.subarray(end)
  async function* image(): AsyncIterable<Uint8Array> {
    if (rest.length > 0) yield rest
    yield* { [Symbol.asyncIterator]: () => it }
  }
  return { rows, image: image() }
}
