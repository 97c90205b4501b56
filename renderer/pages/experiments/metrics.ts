import type { MetricSeries } from '../../../contract/objects.ts'
import type { Curve } from '../../ui/chart-data.ts'

export interface MetricChart {
  readonly title: string
  readonly curves: readonly Curve[]
}

const phase = /^(?:train(?:ing)?|val(?:id(?:ation)?)?|test|eval)[/_.-](.+)$/i

/** `train/loss` and `val_loss` belong into one chart, "loss". */
export const chartOf = (key: string): string => phase.exec(key)?.[1] ?? key

/** One chart per measured quantity; curves of several phases and tasks lie over each other. */
export function chartsOf(series: readonly MetricSeries[], nameOfTask: (id: string) => string): MetricChart[] {
  const severalTasks = new Set(series.map(({ task }) => task)).size > 1
  const charts = new Map<string, Curve[]>()
  for (const { key, task, points } of series) {
    const title = chartOf(key)
    const curves = charts.get(title) ?? []
    charts.set(title, curves)
    const label = severalTasks ? `${key} ${nameOfTask(task)}` : key
    // Without steps of its own the order of arrival is the only axis there is.
    const stepless = points.length > 1 && points.every(([step]) => step === points[0]?.[0])
    curves.push({
      label,
      points: points.map(
        ([step, value], at) => [stepless ? at : step, typeof value === 'number' ? value : null] as const,
      ),
    })
  }
  return [...charts]
    .map(([title, curves]) => ({ title, curves: curves.toSorted((a, b) => (a.label < b.label ? -1 : 1)) }))
    .sort((a, b) => a.title.localeCompare(b.title, 'en', { numeric: true }))
}
