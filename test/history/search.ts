import { Configurations } from './configurations.ts'
import type { Model, Operation } from './model.ts'

export interface Limits {
  /** Model steps for one key. */
  readonly steps: number
  /** Memory of the memo for one key. */
  readonly bytes: number
}

export interface Found<State, Input, Output> {
  readonly verdict: 'ok' | 'violation' | 'unknown'
  readonly steps: number
  readonly configurations: number
  /** The longest order found, and the state at its end. */
  readonly order: readonly Operation<Input, Output>[]
  readonly state: State
}

/**
 * Wing and Gong's search with Lowe's memo: from the initial state, take any operation that was called before the first
 * answer still due came, as long as the model agrees; go back when none is left. Operations without an answer have no
 * place to be due by, and are tried last; of equal ones, only the oldest, for any order has another with the oldest first.
 */
export function search<State, Input, Output>(
  operations: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  initial: State,
  limits: Limits,
): Found<State, Input, Output> {
  return new Search(operations, model, initial, limits).run()
}

const mostStates = 2 ** 23

/** One operation taken: which, and what to put back when it was the wrong one. */
interface Frame<State> {
  readonly op: number
  readonly state: State
  readonly highest: number
}

class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>
  readonly #limits: Limits
  /** Answered operations by call, then those without an answer by call. An operation's number is its place here. */
  readonly #ops: readonly Operation<Input, Output>[]
  readonly #answered: number
  /** For each operation without an answer, the next older one with the same input. */
  readonly #older: ReadonlyMap<number, number>
  readonly #due: DueList
  readonly #taken: Uint32Array
  readonly #tried: Configurations
  readonly #key: Uint32Array
  readonly #stateIds = new Map<string, number>()
  readonly #frames: Frame<State>[] = []
  #state: State
  /** Largest number of an answered operation taken; −1 for none. */
  #highest = -1
  #remaining: number
  #steps = 0
  #longest: number[] = []
  #longestState: State

  constructor(
    operations: readonly Operation<Input, Output>[],
    model: Model<State, Input, Output>,
    initial: State,
    limits: Limits,
  ) {
    this.#model = model
    this.#limits = limits
    const byCall = operations.toSorted((a, b) => a.call - b.call)
    const answered = byCall.filter(({ output }) => output !== undefined)
    this.#ops = [...answered, ...byCall.filter(({ output }) => output === undefined)]
    this.#answered = this.#remaining = answered.length
    this.#older = olderEquals(this.#ops, answered.length)
    this.#due = new DueList(answered)
    const words = (this.#ops.length >> 5) + 2
    this.#taken = new Uint32Array(words)
    this.#key = new Uint32Array(words + 3)
    this.#tried = new Configurations(limits.bytes)
    this.#state = this.#longestState = initial
  }

  run(): Found<State, Input, Output> {
    let after = -1
    for (;;) {
      if (this.#remaining === 0) return this.#found('ok')
      if (this.#steps >= this.#limits.steps) return this.#found('unknown')
      const op = this.#candidate(after)
      if (op === undefined) {
        if (this.#frames.length > this.#longest.length) this.#keepLongest()
        const frame = this.#frames.pop()
        if (!frame) return this.#found('violation')
        this.#putBack(frame)
        after = frame.op
        continue
      }
      const tried = this.#try(op)
      if (tried === 'full') return this.#found('unknown')
      after = tried === 'taken' ? -1 : op
    }
  }

  /** The next operation after `after` that may come now. */
  #candidate(after: number): number | undefined {
    if (after < this.#answered) {
      const op = this.#due.callAfter(after)
      if (op !== undefined) return op
    }
    const due = this.#due.firstReturn()
    for (let op = Math.max(after + 1, this.#answered); op < this.#ops.length; op++) {
      if ((this.#ops[op] as Operation<Input, Output>).call > due) return undefined
      const older = this.#older.get(op)
      if (!this.#isTaken(op) && (older === undefined || this.#isTaken(older))) return op
    }
    return undefined
  }

  #try(op: number): 'taken' | 'wrong' | 'full' {
    const { input, output } = this.#ops[op] as Operation<Input, Output>
    this.#steps++
    const next = this.#model.step(this.#state, input, output)
    if (next === undefined) return 'wrong'
    const frame = { op, state: this.#state, highest: this.#highest }
    this.#take(op, next)
    const added = this.#remember()
    if (added === 'added') {
      this.#frames.push(frame)
      return 'taken'
    }
    this.#putBack(frame)
    return added === 'full' ? 'full' : 'wrong'
  }

  #take(op: number, state: State): void {
    this.#taken[op >> 5] = (this.#taken[op >> 5] as number) | (1 << (op & 31))
    this.#state = state
    if (op >= this.#answered) return
    this.#due.remove(op)
    this.#remaining--
    this.#highest = Math.max(this.#highest, op)
  }

  #putBack({ op, state, highest }: Frame<State>): void {
    this.#taken[op >> 5] = (this.#taken[op >> 5] as number) & ~(1 << (op & 31))
    this.#state = state
    if (op >= this.#answered) return
    this.#due.restore(op)
    this.#remaining++
    this.#highest = highest
  }

  #isTaken(op: number): boolean {
    return ((this.#taken[op >> 5] as number) & (1 << (op & 31))) !== 0
  }

  /** As few words as tell it apart: everything before the first word with a gap is taken, nothing after the highest is. */
  #remember(): 'added' | 'known' | 'full' {
    const key = this.#key
    const first = Math.min(this.#due.firstCall() >> 5, this.#answered >> 5)
    const end = Math.max((this.#highest >> 5) + 1, first)
    const id = this.#stateId()
    if (id === undefined) return 'full'
    key[0] = id
    key[1] = first
    key[2] = end
    let length = 3
    for (let word = first; word < end; word++) key[length++] = this.#taken[word] as number
    const pending = Math.max(this.#answered >> 5, end)
    for (let word = pending; word < this.#taken.length; word++) key[length++] = this.#taken[word] as number
    while (length > 3 && key[length - 1] === 0) length--
    return this.#tried.add(key, length)
  }

  /** Undefined: no room for another, as a Map ends at 2^24. */
  #stateId(): number | undefined {
    const text = this.#model.identify(this.#state)
    let id = this.#stateIds.get(text)
    if (id === undefined) {
      if (this.#stateIds.size === mostStates) return undefined
      this.#stateIds.set(text, (id = this.#stateIds.size))
    }
    return id
  }

  #keepLongest(): void {
    this.#longest = this.#frames.map(({ op }) => op)
    this.#longestState = this.#state
  }

  #found(verdict: Found<State, Input, Output>['verdict']): Found<State, Input, Output> {
    if (this.#frames.length > this.#longest.length) this.#keepLongest()
    const order = this.#longest.map((op) => this.#ops[op] as Operation<Input, Output>)
    return {
      verdict,
      steps: this.#steps,
      configurations: this.#tried.size,
      order,
      state: this.#longestState,
    }
  }
}

function olderEquals(ops: readonly Operation<unknown, unknown>[], from: number): Map<number, number> {
  const newest = new Map<string, number>()
  const older = new Map<number, number>()
  for (let op = from; op < ops.length; op++) {
    const text = JSON.stringify(ops[op]?.input)
    const before = newest.get(text)
    if (before !== undefined) older.set(op, before)
    newest.set(text, op)
  }
  return older
}

/** Calls and returns of the operations not taken yet, in order of time; taking out and putting back is constant. */
class DueList {
  /** Node 0 is the head, node 1 + 2·op the call of an operation, the one after it its return. */
  readonly #next: Int32Array
  readonly #prev: Int32Array
  readonly #returns: Float64Array

  constructor(answered: readonly Operation<unknown, unknown>[]) {
    const nodes = answered.flatMap((operation, op) => [
      { node: 1 + 2 * op, at: operation.call, kind: 0 },
      { node: 2 + 2 * op, at: operation.return, kind: 1 },
    ])
    // At the same time a call comes before a return: what touches may overlap.
    nodes.sort((a, b) => a.at - b.at || a.kind - b.kind || a.node - b.node)
    this.#next = new Int32Array(nodes.length + 1)
    this.#prev = new Int32Array(nodes.length + 1)
    this.#returns = Float64Array.from(answered, (operation) => operation.return)
    let last = 0
    for (const { node } of nodes) {
      this.#next[last] = node
      this.#prev[node] = last
      last = node
    }
  }

  /** The first call later than that of `op` (−1: the very first) and before the first return; undefined: none. */
  callAfter(op: number): number | undefined {
    const node = this.#next[op < 0 ? 0 : 1 + 2 * op] as number
    return isCall(node) ? opOf(node) : undefined
  }

  firstReturn(): number {
    let node = this.#next[0] as number
    while (isCall(node)) node = this.#next[node] as number
    return node === 0 ? Infinity : (this.#returns[opOf(node)] as number)
  }

  /** The first operation not taken; beyond all of them when none is left. */
  firstCall(): number {
    const node = this.#next[0] as number
    return node === 0 ? this.#returns.length : opOf(node)
  }

  remove(op: number): void {
    this.#unlink(1 + 2 * op)
    this.#unlink(2 + 2 * op)
  }

  /** Only in the reverse order of removing. */
  restore(op: number): void {
    this.#relink(2 + 2 * op)
    this.#relink(1 + 2 * op)
  }

  #unlink(node: number): void {
    const [prev, next] = [this.#prev[node] as number, this.#next[node] as number]
    this.#next[prev] = next
    if (next !== 0) this.#prev[next] = prev
  }

  #relink(node: number): void {
    const [prev, next] = [this.#prev[node] as number, this.#next[node] as number]
    this.#next[prev] = node
    if (next !== 0) this.#prev[next] = node
  }
}

const isCall = (node: number): boolean => node !== 0 && (node & 1) === 1
const opOf = (node: number): number => (node - 1) >> 1
