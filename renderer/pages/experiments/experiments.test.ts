import { describe, expect, test } from 'vitest'
import type { LogLine, MetricSeries } from '../../../contract/objects.ts'
import { ProblemError } from '../../../contract/problem.ts'
import { experiment, task } from '../../testing/objects.ts'
import { explain, explainExit } from './explain.ts'
import { filterOf, matches, search } from './experiments.ts'
import { followLog, type LogPlace, type LogStatus } from './log-follow.ts'
import { chartsOf } from './metrics.ts'

describe('the list', () => {
  const all = [experiment(), experiment({ id: 'exp-2', name: 'unet-nuclei', owner: 'ana' })]

  test('finds by name, owner, tag and id, all words together', () => {
    expect(search(all, 'UNET ana').map(({ id }) => id)).toEqual(['exp-2'])
    expect(search(all, 'demo')).toHaveLength(2)
    expect(search(all, 'exp-2 digits')).toHaveLength(0)
    expect(search(all, ' ')).toBe(all)
  })

  test('filters group what people see as one', () => {
    expect(matches('Running', 'Starting')).toBe(true)
    expect(matches('Queued', 'Accepted')).toBe(true)
    expect(matches('open', 'Failed')).toBe(false)
    expect(filterOf('nonsense')).toBe('all')
  })
})

describe('why an experiment is in its state', () => {
  const failed = (exit: number, code: string, message: string) => {
    const reason = { code, message }
    return explain(
      experiment({ state: 'Failed', reason, tasks: [task({ state: 'Failed', exit_code: exit, reason })] }),
    )
  }

  test('the server’s reason, with advice where the exit code alone says little', () => {
    expect(failed(127, 'exit_code', 'it ended with exit code 127')).toEqual({
      text: 'It ended with exit code 127.',
      code: 'exit_code',
      hint: 'Check the spelling, and that the image holds the program.',
    })
    expect(failed(137, 'oom_killed', 'It needed more memory.')?.hint).toBeNull()
  })

  test('a waiting task says what it waits for; a good end says nothing', () => {
    const reason = { code: 'no_room', message: 'waits for 1 GPU' }
    const waits = experiment({ state: 'Queued', tasks: [task({ state: 'Queued', reason })] })
    expect(explain(waits)?.text).toBe('Waits for 1 GPU.')
    expect(explain(experiment({ state: 'Succeeded' }))).toBeUndefined()
    expect(explain(experiment({ stop_requested: true }))?.text).toMatch(/^Stopping/)
  })

  test('exit codes in words', () => {
    expect(explainExit(0)).toBe('The command ended well.')
    expect(explainExit(3)).toContain('exit code 3')
  })
})

describe('charts', () => {
  const series = (key: string, points: MetricSeries['points'], of = 't'): MetricSeries => ({
    key,
    task: of,
    points,
  })

  test('phases of one quantity share a chart; NaN is a gap', () => {
    const charts = chartsOf(
      [series('val_loss', [[1, 2, '']]), series('train/loss', [[1, 'NaN', ''], [2, 1, '']]), series('acc', [[1, 0.5, '']])],
      (id) => id,
    ) // prettier-ignore
    expect(charts.map(({ title, curves }) => [title, curves.map(({ label }) => label)])).toEqual([
      ['acc', ['acc']],
      ['loss', ['train/loss', 'val_loss']],
    ])
    expect(charts[1]?.curves[0]?.points).toEqual([[1, null], [2, 1]]) // prettier-ignore
  })

  test('without steps the order of arrival is the axis; several tasks are told apart', () => {
    const points: MetricSeries['points'] = [[0, 5, ''], [0, 6, '']] // prettier-ignore
    const [chart] = chartsOf([series('x', points, 'a'), series('x', points, 'b')], (id) => `worker-${id}`)
    expect(chart?.curves.map(({ label }) => label)).toEqual(['x worker-a', 'x worker-b'])
    expect(chart?.curves[0]?.points).toEqual([[0, 5], [1, 6]]) // prettier-ignore
  })
})

describe('following a log', () => {
  const line = (offset: number): LogLine => ({
    task: 't',
    attempt: 1,
    offset,
    time: `T${offset}`,
    stream: 'stdout',
    text: '',
  })

  async function follow(streams: (number | Error)[][], overAfter: number) {
    const opened: (LogPlace | undefined)[] = []
    const got: number[] = []
    const states: LogStatus[] = []
    const stop = new AbortController()
    await followLog(
      {
        open: async function* (after) {
          opened.push(after)
          const stream = streams.shift()
          if (!stream) return stop.abort()
          for (const item of stream) {
            if (item instanceof Error) throw item
            yield { id: `0:1:${item}`, data: line(item) }
          }
        },
        line: ({ offset }) => got.push(offset),
        over: () => opened.length >= overAfter,
        status: (now) => states.push(now),
        sleep: async () => {},
      },
      stop.signal,
    )
    return { opened, got, states }
  }

  test('goes on where a broken stream left off, and ends when all is read', async () => {
    const { opened, got, states } = await follow([[1, 2, new ProblemError('node_unreachable')], [3], []], 2)
    expect(opened).toEqual([undefined, { id: '0:1:2', time: 'T2' }, { id: '0:1:3', time: 'T3' }])
    expect(got).toEqual([1, 2, 3])
    expect(states.at(-1)).toBe('ended')
    expect(states.some((state) => state instanceof ProblemError && state.code === 'node_unreachable')).toBe(
      true,
    )
  })

  test('a stream that ends while the task runs is opened again', async () => {
    const { opened } = await follow([[1], [], [2], []], 3)
    expect(opened).toHaveLength(4)
  })
})
