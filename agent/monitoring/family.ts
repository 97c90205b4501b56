/** One metric with all its samples, as Prometheus reads it. */
export interface Family {
  /** Without the suffixes of its samples; a counter's ends in `_total`. */
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  readonly samples: readonly Sample[]
}

export type Labels = Readonly<Record<string, string | number>>

export interface Sample {
  /** `_bucket`, `_sum`, `_count` of histograms and summaries. */
  readonly suffix?: string
  readonly labels?: Labels
  readonly value: number
}

/** A family that is made anew for each scrape; samples without a value are left out. */
export function family(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  samples: number | readonly { labels: Labels; value: number | null | undefined }[],
): Family {
  if (typeof samples === 'number') return { name, help, type, samples: [{ value: samples }] }
  const known = samples.flatMap(({ labels, value }) => (typeof value === 'number' ? [{ labels, value }] : []))
  return { name, help, type, samples: known }
}

/** Counts since the agent started, one for each set of labels. */
export interface Counter {
  add(labels?: Labels, by?: number): void
  family(): Family
}

export function counter(name: string, help: string): Counter {
  const counts = new Map<string, { labels: Labels; value: number }>()
  return {
    add(labels = {}, by = 1) {
      const key = JSON.stringify(labels)
      const count = counts.get(key)
      if (count) count.value += by
      else counts.set(key, { labels, value: by })
    },
    family: () => ({ name, help, type: 'counter', samples: [...counts.values()] }),
  }
}

/** How long something took, by bounds in seconds. */
export interface Histogram {
  observe(seconds: number, labels?: Labels): void
  family(): Family
}

interface Series {
  readonly labels: Labels
  /** For each bound, how many were within it and beyond the one before; the last counts what exceeds all. */
  readonly counts: number[]
  sum: number
}

export function histogram(name: string, help: string, bounds: readonly number[]): Histogram {
  const all = new Map<string, Series>()
  return {
    observe(seconds, labels = {}) {
      const key = JSON.stringify(labels)
      let series = all.get(key)
      if (!series) all.set(key, (series = { labels, counts: Array.from(bounds, () => 0).concat(0), sum: 0 }))
      const at = bounds.findIndex((bound) => seconds <= bound)
      const bucket = at < 0 ? bounds.length : at
      series.counts[bucket] = (series.counts[bucket] ?? 0) + 1
      series.sum += seconds
    },
    family: () => ({
      name,
      help,
      type: 'histogram',
      samples: [...all.values()].flatMap((series) => samplesOf(series, bounds)),
    }),
  }
}

/** Buckets are cumulative: each holds all that is within its bound. */
function samplesOf({ labels, counts, sum }: Series, bounds: readonly number[]): Sample[] {
  let count = 0
  const buckets = counts.map((more, at) => {
    count += more
    return { suffix: '_bucket', labels: { ...labels, le: bounds[at] ?? '+Inf' }, value: count }
  })
  return [...buckets, { suffix: '_sum', labels, value: sum }, { suffix: '_count', labels, value: count }]
}
