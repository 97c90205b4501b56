import { describe, expect, it } from 'vitest'
import type { Client } from '../../contract/client.ts'
import type { LogLine } from '../../contract/objects.ts'
import { ProblemError } from '../../contract/problem.ts'
import { DoubleCluster } from '../testing/double-cluster.ts'
import { readLogs, type LogQuery } from './logs.ts'

type Query = Record<string, string | number | undefined>
type Step = (query: Query) => (LogLine | Error)[]

const line = (attempt: number, offset: number, text: string): LogLine => ({
  task: 'exp-1-worker-0',
  attempt,
  offset,
  time: '2026-01-01T00:00:00Z',
  stream: 'stdout',
  text,
})

/** A double of the client whose log streams answer by script, one step per connection. */
async function read(
  steps: Step[],
  over: (stepsLeft: number) => { final: boolean; attempt: number },
  query: LogQuery,
) {
  const cluster = new DoubleCluster()
  const experiment = cluster.add({ name: 'a', command: 'true' })
  const queries: Query[] = []
  const client = {
    call: () => {
      const { final, attempt } = over(steps.length)
      const state = final ? ('Succeeded' as const) : ('Running' as const)
      const tasks = experiment.tasks.map((t) => ({ ...t, state, attempt }))
      return Promise.resolve({ ...experiment, tasks })
    },

    events: async function* (_: string, input: { query: Query }) {
      queries.push(input.query)
      for (const item of steps.shift()?.(input.query) ?? []) {
        if (item instanceof Error) throw item
        yield { id: undefined, data: item }
      }
    },
  } as unknown as Client
  const texts: string[] = []
  for await (const got of readLogs(client, experiment, query)) texts.push(got.text)
  return { texts, queries }
}
const broken = new TypeError('terminated')

describe('reading logs', () => {
  it('reads an attempt to its end before it turns to the next', async () => {
    const { texts, queries } = await read(
      [
        () => [line(1, 5, 'a'), broken],
        () => [line(1, 5, 'a'), line(1, 9, 'b')],
        () => [line(2, 4, 'c')],
        () => [line(2, 4, 'c')],
      ],
      (left) => ({ final: left <= 1, attempt: 2 }),
      { follow: true },
    )
    expect(texts).toEqual(['a', 'b', 'c'])
    expect(queries.map(({ attempt, offset }) => [attempt, offset])).toEqual([
      [undefined, undefined],
      [1, 5],
      [undefined, undefined],
      [2, 4],
    ])
  })

  it('takes the tail once, and goes on from there', async () => {
    const { texts, queries } = await read(
      [() => [line(1, 50, 'last'), broken], () => [line(1, 60, 'next')], () => []],
      () => ({ final: true, attempt: 1 }),
      { follow: true, tail: 1, search: 'x' },
    )
    expect(texts).toEqual(['last', 'next'])
    expect(queries[0]).toMatchObject({ tail: 1, search: 'x' })
    expect(queries[1]).toMatchObject({ offset: 50, search: 'x' })
    expect(queries[1]).not.toHaveProperty('tail')
  })

  it('waits for an unreachable node while its task may live', async () => {
    const gone = new ProblemError('node_unreachable')
    const { texts } = await read(
      [() => [line(1, 1, 'a'), gone], () => [gone], () => [line(1, 2, 'b')], () => []],
      (left) => ({ final: left <= 1, attempt: 1 }),
      { follow: true },
    )
    expect(texts).toEqual(['a', 'b'])
  })

  it('gives up at once on what waiting does not mend', async () => {
    const never = read([() => [new ProblemError('forbidden')]], () => ({ final: false, attempt: 1 }), {
      follow: true,
    })
    await expect(never).rejects.toMatchObject({ code: 'forbidden' })
    const unreachable = read(
      [() => [new ProblemError('node_unreachable')]],
      () => ({ final: false, attempt: 1 }),
      {
        follow: false,
      },
    )
    await expect(unreachable).rejects.toMatchObject({ code: 'node_unreachable' })
  })
})
