import type { Model, Operation } from './model.ts'

/** Every order of every choice of unanswered operations, one after the other. For small histories, to check the checker. */
export function isLinearizable<State, Input, Output>(
  history: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
): boolean {
  const keys = new Set(history.map(({ input }) => model.keyOf(input)))
  return [...keys].every((key) => {
    const own = history.filter(({ input }) => model.keyOf(input) === key)
    const unanswered = own.filter(({ output }) => output === undefined)
    const answered = own.filter(({ output }) => output !== undefined)
    return subsets(unanswered).some((ran) =>
      permutations([...answered, ...ran]).some(
        (order) => respectsTime(order) && explains(order, model, model.initial(key)),
      ),
    )
  })
}

const respectsTime = (order: readonly Operation<unknown, unknown>[]) =>
  order.every((later, at) => order.slice(0, at).every((earlier) => later.return >= earlier.call))

function explains<State, Input, Output>(
  order: readonly Operation<Input, Output>[],
  model: Model<State, Input, Output>,
  initial: State,
): boolean {
  let state: State | undefined = initial
  for (const { input, output } of order) {
    state = model.step(state, input, output)
    if (state === undefined) return false
  }
  return true
}

function subsets<T>(list: readonly T[]): T[][] {
  const [first, ...rest] = list
  if (first === undefined) return [[]]
  const without = subsets(rest)
  return [...without, ...without.map((subset) => [first, ...subset])]
}

function permutations<T>(list: readonly T[]): T[][] {
  if (list.length === 0) return [[]]
  return list.flatMap((first, at) => permutations(list.toSpliced(at, 1)).map((rest) => [first, ...rest]))
}
