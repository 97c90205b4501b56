import type { Shortest } from './check.ts'
import type { Model, Operation } from './model.ts'

/** How many operations before the break are shown. */
const shown = 8

/** For people: how far an order goes, and which answers cannot come next. */
export function explain<State, Input, Output>(
  key: string,
  { counterexample, found }: Shortest<State, Input, Output>,
  model: Model<State, Input, Output>,
): string {
  // What was inferred of an operation does not change when it was called, nor by whom.
  const nameOf = ({ client, call }: Operation<Input, Output>) => `${client} ${call}`
  const taken = new Set(found.order.map(nameOf))
  const open = counterexample.filter((operation) => !taken.has(nameOf(operation)))
  const answered = open.filter(({ output }) => output !== undefined)
  const due = Math.min(...answered.map((operation) => operation.return))
  const next = answered.filter(({ call }) => call <= due)
  const unanswered = open.filter(({ call, output }) => output === undefined && call <= due)
  const print = (operation: Operation<Input, Output>) => `    ${line(operation, model)}`
  return [
    `${model.name} ${key}: no order explains these answers (${counterexample.length} operations until then)`,
    `  the longest order that fits has ${found.order.length} of them and ends with`,
    ...found.order.slice(-shown).map(print),
    `  after which it is ${model.describeState(found.state)}, and one of these must come next, but none can`,
    ...next.map(print),
    ...(unanswered.length ? ['  without an answer yet, and of no help', ...unanswered.map(print)] : []),
  ].join('\n')
}

function line<State, Input, Output>(
  { client, call, return: end, input, output }: Operation<Input, Output>,
  model: Model<State, Input, Output>,
): string {
  const when = `[${call}, ${end === Infinity ? '…' : end}]`
  return `${String(client)} ${when} ${model.describe(input, output)}`
}
