/** One operation of one client, on one clock for all: `call` when it was sent, `return` when its answer came. */
export interface Operation<Input, Output> {
  readonly client: number | string
  readonly input: Input
  /** Undefined: no answer came, so it may have run at any time after its call, or never. */
  readonly output: Output | undefined
  readonly call: number
  /** Infinity exactly where `output` is undefined: what was given up may still run later. */
  readonly return: number
}

/** What a single copy of the object, asked by one client at a time, would do. */
export interface Model<State, Input, Output> {
  readonly name: string
  /** Operations on different keys never meet: each key is searched alone. */
  keyOf(input: Input): string
  initial(key: string): State
  /**
   * The state after `input` was answered with `output`, or undefined where that answer is wrong. Without an output, the
   * state after it took effect, or undefined where it has none: then it is the same as if it never ran.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined
  /** Equal for equal states and for no others. */
  identify(state: State): string
  /**
   * Says of one key's history more than the clients were told, where answers to others imply it: what is known narrows
   * the search. The same orders must explain it afterwards.
   */
  infer?(operations: readonly Operation<Input, Output>[]): readonly Operation<Input, Output>[]
  describe(input: Input, output: Output | undefined): string
  describeState(state: State): string
}
