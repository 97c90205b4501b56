import { describe, expect, test } from 'vitest'
import type { Event, WatchEvent } from '../../contract/objects.ts'
import { experiment, node, usage } from '../testing/objects.ts'
import { applied, emptySnapshot, listed } from './snapshot.ts'

const before = listed(emptySnapshot, [node()], [experiment({ resource_version: 5 })])
const change = (type: 'ADDED' | 'MODIFIED' | 'DELETED', more: object): WatchEvent => ({
  kind: 'experiment',
  type,
  object: experiment(more),
})
const event = (id: string): WatchEvent => ({
  kind: 'event',
  type: 'ADDED',
  object: {
    id,
    at: '',
    code: 'task.running',
    subject: { kind: 'task', id: 't' },
    message: '',
    reason: null,
    actor: '',
  } satisfies Event,
})

describe('changes from the watch', () => {
  test('newer ones replace, older ones told again are skipped', () => {
    const newer = applied(before, [change('MODIFIED', { state: 'Succeeded', resource_version: 7 })])
    expect(newer.experiments.get('exp-1')?.state).toBe('Succeeded')
    const again = applied(newer, [change('MODIFIED', { state: 'Running', resource_version: 6 })])
    expect(again.experiments.get('exp-1')?.state).toBe('Succeeded')
  })

  test('deleted ones go; the snapshot before stays as it was', () => {
    expect(applied(before, [change('DELETED', { resource_version: 9 })]).experiments.size).toBe(0)
    expect(before.experiments.size).toBe(1)
  })

  test('events come newest first and once', () => {
    const { events } = applied(before, [event('1'), event('2'), event('1')])
    expect(events.map(({ id }) => id)).toEqual(['2', '1'])
  })

  test('live figures stay when the stored part of a node changes', () => {
    const told = applied(before, [
      {
        kind: 'usage',
        type: 'MODIFIED',
        object: [{ node: 'node-1', liveness: 'suspect', silent_ms: 5000, usage: usage() }],
      },
      {
        kind: 'node',
        type: 'MODIFIED',
        object: node({ tasks: 2, liveness: 'unknown', silent_ms: null, resource_version: 8 }),
      },
    ])
    expect(told.nodes.get('node-1')).toMatchObject({
      tasks: 2,
      liveness: 'suspect',
      silent_ms: 5000,
      usage: { cpu_percent: 25 },
    })
  })

  test('history keeps the last minutes, each sample once', () => {
    let told = before
    for (let at = 0; at < 400; at++) {
      const object = [
        { node: 'node-1', liveness: 'ready' as const, silent_ms: 0, usage: usage({ at: String(at >> 1) }) },
      ]
      told = applied(told, [{ kind: 'usage', type: 'MODIFIED', object }])
    }
    expect(told.history.get('node-1')).toHaveLength(180)
    expect(told.history.get('node-1')?.at(-1)?.at).toBe('199')
  })

  test('a new list forgets what is gone, not the history', () => {
    const told = applied(before, [
      {
        kind: 'usage',
        type: 'MODIFIED',
        object: [{ node: 'node-1', liveness: 'ready', silent_ms: 0, usage: usage() }],
      },
    ])
    const again = listed(told, [node()], [])
    expect(again.experiments.size).toBe(0)
    expect(again.nodes.get('node-1')?.usage?.cpu_percent).toBe(25)
    expect(again.history.get('node-1')).toHaveLength(1)
  })
})
