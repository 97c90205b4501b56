import { explain } from './explain.ts'
import type { Model, Operation } from './model.ts'
import { type Found, type Limits, search } from './search.ts'

const defaults: Limits = { steps: 20_000_000, bytes: 512 * 1024 ** 2 }

export interface Verdict<Input, Output> {
  /** `unknown`: a limit was met first. It says nothing, so whoever asks must not take it for `ok`. */
  readonly verdict: 'ok' | 'violation' | 'unknown'
  readonly keys: number
  readonly operations: number
  readonly steps: number
  /** The key that decided it, and for people why; absent when ok. */
  readonly key?: string
  readonly report?: string
  /** The shortest beginning of that key's history that no order explains. */
  readonly counterexample?: readonly Operation<Input, Output>[]
}

/** Is there, for every key, one order of the operations that respects real time and gives every client its answer? */
export function checkLinearizable<State, Input, Output>(
  history: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  limits: Partial<Limits> = {},
): Verdict<Input, Output> {
  history.forEach(mustMakeSense)
  const bounds = { ...defaults, ...limits }
  const byKey = Map.groupBy(history, ({ input }) => model.keyOf(input))
  let steps = 0
  let unknown: Pick<Verdict<Input, Output>, 'key' | 'report'> | undefined
  const counts = () => ({ keys: byKey.size, operations: history.length, steps })
  for (const [key, operations] of byKey) {
    const found = searchInferred(operations, model, model.initial(key), bounds)
    steps += found.steps
    if (found.verdict === 'violation') {
      const shortest = shortestViolation(operations, found, model, model.initial(key), bounds)
      const { counterexample } = shortest
      return { verdict: 'violation', ...counts(), key, counterexample, report: explain(key, shortest, model) }
    }
    if (found.verdict === 'unknown')
      unknown ??= {
        key,
        report: `${key}: gave up after ${found.steps} steps and ${found.configurations} states`,
      }
  }
  return unknown ? { verdict: 'unknown', ...counts(), ...unknown } : { verdict: 'ok', ...counts() }
}

function mustMakeSense({ call, return: end, output }: Operation<unknown, unknown>, at: number): void {
  if (!(call <= end))
    throw new RangeError(`operation ${at} returns at ${end}, before or beside its call at ${call}`)
  if ((output === undefined) !== (end === Infinity))
    throw new RangeError(
      `operation ${at}: one without an answer returns at Infinity, one with an answer before`,
    )
}

function searchInferred<State, Input, Output>(
  operations: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  initial: State,
  limits: Limits,
): Found<State, Input, Output> {
  return search(model.infer?.(operations) ?? operations, model, initial, limits)
}

export interface Shortest<State, Input, Output> {
  readonly counterexample: readonly Operation<Input, Output>[]
  readonly found: Found<State, Input, Output>
}

/**
 * The history up to a moment is linearizable whenever the whole is, so the first answer that cannot be explained is
 * found by halving. A beginning that meets a limit counts as explained: the counter-example gets longer, never wrong.
 */
function shortestViolation<State, Input, Output>(
  operations: readonly Operation<Input, Output>[],
  whole: Found<State, Input, Output>,
  model: Model<State, Input, Output>,
  initial: State,
  limits: Limits,
): Shortest<State, Input, Output> {
  const ends = operations.map((operation) => operation.return).filter((end) => end !== Infinity)
  ends.sort((a, b) => a - b)
  let shortest = { counterexample: operations, found: whole }
  let [low, high] = [0, ends.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    const counterexample = until(operations, ends[middle] as number)
    const found = searchInferred(counterexample, model, initial, limits)
    if (found.verdict === 'violation') {
      shortest = { counterexample, found }
      high = middle
    } else low = middle + 1
  }
  return shortest
}

/** What was known at that moment. */
function until<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  end: number,
): Operation<Input, Output>[] {
  return operations
    .filter(({ call }) => call <= end)
    .map((operation) =>
      operation.return <= end ? operation : { ...operation, output: undefined, return: Infinity },
    )
}
