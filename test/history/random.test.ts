import { expect, test } from 'vitest'
import { Rng } from '../../raft/testing/rng.ts'
import { isLinearizable } from './brute-force.ts'
import { checkLinearizable } from './check.ts'
import { Configurations } from './configurations.ts'
import { type KeyValueInput, type KeyValueOutput, type KeyValueState, keyValueModel } from './key-value.ts'
import type { Operation } from './model.ts'

type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>
const model = keyValueModel()

function randomInput(rng: Rng, at: number): KeyValueInput {
  const key = 'x'
  const kind = rng.pick(['get', 'get', 'put', 'put', 'cas', 'cas', 'delete'] as const)
  if (kind !== 'cas') return kind === 'put' ? { kind, key, value: `${at}` } : { kind, key }
  if (rng.chance(0.5)) return { kind, key, version: 1 + rng.int(4), value: `${at}` }
  return { kind, key, expect: rng.chance(0.2) ? null : `${rng.int(6)}`, value: `${at}` }
}

/** What a real register answers when operation `input` runs on `state`, with versions or without. */
function run(state: KeyValueState, input: KeyValueInput): [KeyValueState, KeyValueOutput] {
  const next = (value: string | null): KeyValueState => ({ value, version: state.version + 1, exact: true })
  const matches =
    input.kind === 'cas' &&
    ('version' in input ? input.version === state.version : input.expect === state.value)
  if (input.kind === 'put') return [next(input.value), { version: state.version + 1 }]
  if (matches) return [next(input.value), { done: true, version: state.version + 1 }]
  if (input.kind === 'cas') return [state, { done: false }]
  if (input.kind === 'get')
    return [state, { value: state.value, ...(state.value === null ? {} : { version: state.version }) }]
  return state.value === null ? [state, { done: false }] : [next(null), { done: true }]
}

/** A history of a real register, and the same with one answer bent, which may or may not still be explainable. */
function randomHistory(rng: Rng): KeyValueOperation[] {
  const numbered = rng.chance(0.5)
  const count = 3 + rng.int(4)
  const moments = Array.from({ length: count }, (_, at) => 10 * at)
  let state: KeyValueState = { value: null, version: 0, exact: true }
  const history = moments.map((moment, at): KeyValueOperation => {
    const input = randomInput(rng, at)
    const lost = rng.chance(0.2)
    const [next, { version, ...rest }] = run(state, input)
    if (!lost || rng.chance(0.5)) state = next
    const output = { ...rest, ...(numbered && version !== undefined ? { version } : {}) }
    return {
      client: at,
      input,
      output: lost ? undefined : output,
      call: moment - rng.int(25),
      return: lost ? Infinity : moment + 1 + rng.int(25),
    }
  })
  return rng.chance(0.6) ? bend(rng, history) : history
}

function bend(rng: Rng, history: KeyValueOperation[]): KeyValueOperation[] {
  const at = rng.int(history.length)
  return history.map((operation, index) => {
    if (index !== at || !operation.output) return operation
    const { value, done, version } = operation.output
    const output = {
      ...(value === undefined ? {} : { value: rng.chance(0.3) ? null : `${rng.int(6)}` }),
      ...(done === undefined ? {} : { done: !done }),
      ...(version === undefined ? {} : { version: 1 + rng.int(5) }),
    }
    return { ...operation, output }
  })
}

test('agrees with trying every order', () => {
  const counts = { ok: 0, violation: 0, unknown: 0 }
  for (let seed = 0; seed < 4000; seed++) {
    const history = randomHistory(new Rng(seed))
    const { verdict } = checkLinearizable(history, model)
    counts[verdict]++
    expect(verdict, `seed ${seed}: ${JSON.stringify(history)}`).toBe(
      isLinearizable(history, model) ? 'ok' : 'violation',
    )
  }
  expect(Math.min(counts.ok, counts.violation), JSON.stringify(counts)).toBeGreaterThan(500)
})

test('a beginning that is called wrong is wrong by itself, and as short as can be', () => {
  let seen = 0
  for (let seed = 0; seed < 1000; seed++) {
    const { verdict, counterexample } = checkLinearizable(randomHistory(new Rng(seed)), model)
    if (verdict !== 'violation' || !counterexample) continue
    seen++
    expect(isLinearizable(counterexample, model)).toBe(false)
    const last = Math.max(...counterexample.map((one) => one.return).filter((end) => end !== Infinity))
    const before = counterexample.map((one) =>
      one.return === last ? { ...one, output: undefined, return: Infinity } : one,
    )
    expect(isLinearizable(before, model)).toBe(true)
  }
  expect(seen).toBeGreaterThan(100)
})

test('the memo holds what it was given, and says when it is full', () => {
  const memo = new Configurations(1024 ** 2)
  const key = new Uint32Array(4)
  const add = (n: number) => {
    key.set([n % 7, n, n * 3])
    return memo.add(key, 1 + (n % 3))
  }
  const rng = new Rng(1)
  const model = new Set<string>()
  for (let i = 0; i < 20_000; i++) {
    const n = rng.int(10_000)
    key.set([n % 7, n, n * 3])
    const name = key.subarray(0, 1 + (n % 3)).join()
    expect(add(n)).toBe(model.has(name) ? 'known' : 'added')
    model.add(name)
  }
  expect(memo.size).toBe(model.size)
  let n = 10_000
  while (add(n) !== 'full') n++
  expect(add(n)).toBe('full')
  expect(add(1)).toBe('known')
})
