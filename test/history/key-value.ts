import type { Model, Operation } from './model.ts'

/** What clients ask of a key. Values are written once each, so that a read tells whose write it saw. */
export type KeyValueInput =
  | { readonly kind: 'get'; readonly key: string }
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  /** Writes only over `expect` (null: no value), or only over that version. */
  | { readonly kind: 'cas'; readonly key: string; readonly expect: string | null; readonly value: string }
  | { readonly kind: 'cas'; readonly key: string; readonly version: number; readonly value: string }
  | { readonly kind: 'delete'; readonly key: string }

/** What they are told. `version` where the store numbers its changes: it only grows on a key. */
export interface KeyValueOutput {
  /** Of a get: the value, null for none. */
  readonly value?: string | null
  /** Of a cas: whether it was written; of a delete: whether there was a value. */
  readonly done?: boolean
  readonly version?: number
}

export interface KeyValueState {
  readonly value: string | null
  readonly version: number
  /** False after a write whose version nobody was told: the true one is at least `version`. */
  readonly exact: boolean
}

const absent: KeyValueState = { value: null, version: 0, exact: false }

/** Registers by key, with or without versions. */
export function keyValueModel(
  initial: (key: string) => KeyValueState = () => absent,
): Model<KeyValueState, KeyValueInput, KeyValueOutput> {
  return {
    name: 'key',
    keyOf: ({ key }) => key,
    initial,
    step,
    infer,
    identify: (state) => `${state.exact ? '=' : '>'}${state.version}${show(state.value)}`,
    describe,
    describeState: ({ value, version, exact }) =>
      exact ? `${show(value)} at version ${version}` : show(value),
  }
}

/** Stands for every value that was written without an answer and that nobody ever saw: they are all alike. */
const unseen = '(unseen)'

/**
 * A write without an answer whose value somebody saw did run, before that answer came, with the version seen: then it is
 * as good as answered. One whose value nobody saw or named matters only for having been there.
 */
function infer(operations: readonly KeyValueOperation[]): KeyValueOperation[] {
  const writers = Map.groupBy(
    operations.filter(({ input }) => 'value' in input),
    ({ input }) => (input as { value: string }).value,
  )
  const named = new Set(operations.map(({ input }) => ('expect' in input ? input.expect : null)))
  const seen = sightings(operations)
  return operations.map((operation) => {
    const { input, output, call } = operation
    if (output !== undefined || !('value' in input) || writers.get(input.value)?.length !== 1)
      return operation
    const sight = seen.get(input.value)
    if (!sight)
      return named.has(input.value) ? operation : { ...operation, input: { ...input, value: unseen } }
    if (sight.first < call) return operation
    const { version } = sight
    return { ...operation, output: { done: true, ...(version && { version }) }, return: sight.first }
  })
}

type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>

/** For each value, when the first answer came that shows it, and the version it was seen with. */
function sightings(
  operations: readonly KeyValueOperation[],
): Map<string, { first: number; version?: number }> {
  const seen = new Map<string, { first: number; version?: number }>()
  for (const { input, output, return: end } of operations) {
    const overwrote = input.kind === 'cas' && 'expect' in input && output?.done ? input.expect : null
    const value = input.kind === 'get' ? output?.value : overwrote
    if (typeof value !== 'string') continue
    const version = (input.kind === 'get' ? output?.version : undefined) ?? seen.get(value)?.version
    seen.set(value, { first: Math.min(end, seen.get(value)?.first ?? Infinity), ...(version && { version }) })
  }
  return seen
}

function step(
  state: KeyValueState,
  input: KeyValueInput,
  output: KeyValueOutput | undefined,
): KeyValueState | undefined {
  switch (input.kind) {
    case 'get':
      return output ? read(state, output) : undefined
    case 'put':
      return write(state, input.value, output)
    case 'cas':
      return swap(state, input, output)
    case 'delete': {
      const exists = state.value !== null
      if (output && output.done !== undefined && output.done !== exists) return undefined
      if (exists) return write(state, null, output)
      return output ? state : undefined
    }
  }
}

function read(state: KeyValueState, { value = null, version }: KeyValueOutput): KeyValueState | undefined {
  if (value !== state.value) return undefined
  if (version === undefined) return state
  if (state.exact ? version !== state.version : version < state.version) return undefined
  return { value, version, exact: true }
}

function write(
  state: KeyValueState,
  value: string | null,
  output: KeyValueOutput | undefined,
): KeyValueState | undefined {
  const { version } = output ?? {}
  if (version === undefined) return { value, version: state.version + 1, exact: false }
  return version > state.version ? { value, version, exact: true } : undefined
}

function swap(
  state: KeyValueState,
  input: Extract<KeyValueInput, { kind: 'cas' }>,
  output: KeyValueOutput | undefined,
): KeyValueState | undefined {
  const matches = 'version' in input ? versionMayBe(state, input.version) : state.value === input.expect
  const done = output ? output.done === true : true
  if (done) return matches ? write(state, input.value, output) : undefined
  // Over a version nobody was told, either answer may be right.
  return matches && !('version' in input && !state.exact) ? undefined : state
}

const versionMayBe = (state: KeyValueState, version: number) =>
  state.exact ? version === state.version : version >= state.version

function describe(input: KeyValueInput, output: KeyValueOutput | undefined): string {
  const version = output?.version === undefined ? '' : ` at version ${output.version}`
  const end = (text: string) => (output ? ` → ${text}${version}` : ' → ?')
  switch (input.kind) {
    case 'get':
      return `get${end(show(output?.value ?? null))}`
    case 'put':
      return `put ${show(input.value)}${end('ok')}`
    case 'cas': {
      const over = 'version' in input ? `version ${input.version}` : show(input.expect)
      return `write ${show(input.value)} over ${over}${end(output?.done ? 'ok' : 'refused')}`
    }
    case 'delete':
      return `delete${end(output?.done === false ? 'nothing there' : 'ok')}`
  }
}

const show = (value: string | null) => (value === null ? 'nothing' : JSON.stringify(value))
