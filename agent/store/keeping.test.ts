import { Map as ImmutableMap } from 'immutable'
import { describe, expect, test } from 'vitest'
import type { NodeRow, State, TaskRow } from '../cluster/state.ts'
import { emptyState } from '../cluster/transaction.ts'
import { grace, isUselessStream, lonelyUploads, manifestsOf, mayBeSwept, repairs } from './keeping.ts'

const kept = (...holders: string[]) => ({ files: 1, bytes: 1, sha256: 'd1', holders })

/** A state of these nodes and one task. */
function stateOf(nodes: string[], task: Partial<TaskRow> = {}): State {
  const row = { id: 't', state: 'Succeeded', attempt: 2, log: null, metrics: null, artifacts: null, ...task }
  return {
    ...emptyState,
    nodes: ImmutableMap(nodes.map((node) => [node, {} as NodeRow])),
    tasks: ImmutableMap([['t', row as TaskRow]]),
  }
}

describe('repairs', () => {
  test.each<[string, string[], Partial<TaskRow>, string[]]>([
    ['the only copy is here', ['a', 'b'], { log: kept('a') }, ['log']],
    ['all three kinds', ['a', 'b'], { log: kept('a'), metrics: kept('a'), artifacts: kept('a') }, ['log', 'metrics', 'artifacts']],
    ['the other holder was removed', ['a', 'b'], { log: kept('x', 'a') }, ['log']],
    ['two copies', ['a', 'b', 'c'], { log: kept('a', 'b') }, []],
    ['the only copy is elsewhere', ['a', 'b'], { log: kept('b') }, []],
    ['nobody else exists', ['a'], { log: kept('a') }, []],
    ['not over yet', ['a', 'b'], { state: 'Running', log: kept('a') }, []],
    ['nothing kept', ['a', 'b'], {}, []],
  ])('%s', (_, nodes, task, expected) => {
    const found = repairs(stateOf(nodes, task), 'a')
    expect(found.map(({ kind }) => kind)).toEqual(expected)
    for (const repair of found) expect(repair).toMatchObject({ task: 't', attempt: 2, holders: ['a'] })
  }) // prettier-ignore
})

test('uploads with a single holder left are that one’s to copy', () => {
  const blob = (...holders: string[]) => ({ bytes: 5, holders, created_at: '', resource_version: 1 })
  const state: State = {
    ...stateOf(['a', 'b']),
    blobs: ImmutableMap({ one: blob('a'), two: blob('a', 'b'), other: blob('b'), lost: blob('a', 'gone') }),
  }
  expect(lonelyUploads(state, 'a').map(({ sha256 }) => sha256)).toEqual(['one', 'lost'])
})

describe('useless streams', () => {
  const now = 10 * grace.released
  const held = { task: 't', attempt: 2, kind: 'log', touched: now - grace.released } as const
  test.each<[string, Partial<TaskRow>, object, boolean]>([
    ['of a deleted task', {}, { task: 'deleted' }, true],
    ['of a deleted task, but touched a moment ago', {}, { task: 'deleted', touched: now - grace.released + 1 }, false],
    ['of a task that runs', { state: 'Running' }, {}, false],
    ['of a task whose log nobody sealed', {}, {}, false],
    ['counted here', { log: kept('a', 'b') }, {}, false],
    ['counted twice elsewhere', { log: kept('b', 'c') }, {}, true],
    ['counted elsewhere, but one of those was removed', { log: kept('b', 'gone') }, {}, false],
    ['of another kind', { log: kept('b', 'c') }, { kind: 'metrics' }, false],
    ['of an earlier attempt', { log: kept('b', 'c') }, { attempt: 1 }, false],
    ['of an attempt whose row says that it runs', { state: 'Running', log: kept('b', 'c') }, {}, false],
  ])('%s', (_, task, other, expected) => {
    const state = stateOf(['a', 'b', 'c'], task)
    expect(isUselessStream(state, 'a', { ...held, ...other }, now)).toBe(expected)
  }) // prettier-ignore
})

test('a file is left alone for an hour after it was released, for a day when nobody ever referred to it', () => {
  const touched = 1_000
  const blob = { sha256: 'd', bytes: 1, touched }
  const released = new Map([['d', touched]])
  expect(mayBeSwept(blob, released, touched + grace.released - 1)).toBe(false)
  expect(mayBeSwept(blob, released, touched + grace.released)).toBe(true)
  expect(mayBeSwept(blob, new Map(), touched + grace.released)).toBe(false)
  expect(mayBeSwept(blob, new Map(), touched + grace.unknown)).toBe(true)
  // Stored again since: it may belong to something that no row tells of yet.
  expect(mayBeSwept({ ...blob, touched: 2_000 }, released, 2_000 + grace.released)).toBe(false)
})

test('manifests come with their holders', () => {
  expect([...manifestsOf(stateOf(['a'], { artifacts: kept('a', 'b') }))]).toEqual([['d1', ['a', 'b']]])
})
