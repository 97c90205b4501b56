import { describe, expect, it } from 'vitest'
import { expose, formatFor } from './exposition.ts'
import { counter, family, histogram } from './family.ts'

describe('the text that Prometheus reads', () => {
  it('has a help, a type and a line for each sample', () => {
    const jobs = counter('jobs_total', 'Jobs.')
    jobs.add({ kind: 'a' })
    jobs.add({ kind: 'a' }, 2)
    jobs.add({ kind: 'b' })
    expect(expose([jobs.family()], 'text')).toBe(
      '# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total{kind="a"} 3\njobs_total{kind="b"} 1\n',
    )
  })

  it('escapes what would end a label or a line', () => {
    const odd = family('gauge', 'odd', 'a\\b\nc', [{ labels: { name: 'say "hi"\\\n' }, value: 1 }])
    expect(expose([odd], 'text')).toBe(
      '# HELP odd a\\\\b\\nc\n# TYPE odd gauge\nodd{name="say \\"hi\\"\\\\\\n"} 1\n',
    )
  })

  it('has cumulative buckets', () => {
    const took = histogram('took_seconds', 'Time.', [0.1, 1])
    for (const seconds of [0.05, 0.1, 0.5, 3]) took.observe(seconds)
    expect(expose([took.family()], 'text').split('\n').slice(2)).toEqual([
      'took_seconds_bucket{le="0.1"} 2',
      'took_seconds_bucket{le="1"} 3',
      'took_seconds_bucket{le="+Inf"} 4',
      'took_seconds_sum 3.65',
      'took_seconds_count 4',
      '',
    ])
  })

  it('leaves out what has no value', () => {
    const none = family('gauge', 'none', 'None.', [{ labels: {}, value: null }])
    expect(expose([none], 'text')).toBe('')
  })

  it('as OpenMetrics names counters without their suffix and has an end', () => {
    const jobs = family('counter', 'jobs_total', 'Jobs.', 3)
    expect(expose([jobs], 'openmetrics')).toBe(
      '# HELP jobs Jobs.\n# TYPE jobs counter\njobs_total 3\n# EOF\n',
    )
  })
})

it.each([
  [undefined, 'text'],
  ['*/*', 'text'],
  ['text/html,application/xhtml+xml,*/*;q=0.8', 'text'],
  // As Prometheus 2.42 asks.
  ['application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1', 'openmetrics'],
  ['application/openmetrics-text;version=0.0.1,text/plain;q=0.5', 'text'],
  ['text/plain,application/openmetrics-text;q=0.3', 'text'],
])('of whoever accepts %s', (accept, format) => expect(formatFor(accept)).toBe(format)) // prettier-ignore
