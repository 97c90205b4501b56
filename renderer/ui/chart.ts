import uPlot from 'uplot'
import { align, type Curve, thin } from './chart-data.ts'
import { figure } from './format.ts'

export interface ChartOptions {
  readonly curves: readonly Curve[]
  readonly height: number
  /** Charts with the same key move their cursors together. */
  readonly sync?: string | undefined
  readonly onCursor: (x: number | undefined) => void
}

const pointsDrawn = 1200

/** One uPlot in an element: follows its width and the theme's colours; data changes keep it in place. */
export class Chart {
  readonly #host: HTMLElement
  readonly #options: ChartOptions
  readonly #observer: ResizeObserver
  readonly #dark = matchMedia('(prefers-color-scheme: dark)')
  readonly #theme: MutationObserver
  #plot: uPlot | undefined
  #curves: readonly Curve[]

  constructor(host: HTMLElement, options: ChartOptions) {
    this.#host = host
    this.#options = options
    this.#curves = options.curves
    this.#draw()
    this.#observer = new ResizeObserver(() =>
      this.#plot?.setSize({ width: host.clientWidth, height: options.height }),
    )
    this.#observer.observe(host)
    this.#theme = new MutationObserver(this.#draw)
    this.#theme.observe(document.documentElement, { attributeFilter: ['data-theme'] })
    this.#dark.addEventListener('change', this.#draw)
  }

  update(curves: readonly Curve[]): void {
    const same = curves.map((c) => c.label).join('\n') === this.#curves.map((c) => c.label).join('\n')
    this.#curves = curves
    if (same) this.#plot?.setData(this.#data())
    else this.#draw()
  }

  close(): void {
    this.#observer.disconnect()
    this.#theme.disconnect()
    this.#dark.removeEventListener('change', this.#draw)
    this.#plot?.destroy()
  }

  #data(): uPlot.AlignedData {
    return align(this.#curves.map((curve) => ({ ...curve, points: thin(curve.points, pointsDrawn) })))
  }

  // Canvas takes colours, not custom properties, so a change of theme draws anew.
  readonly #draw = (): void => {
    this.#plot?.destroy()
    const axis = this.#color('--text-3')
    const grid = { stroke: this.#color('--line'), width: 1 }
    const font = `11px ${getComputedStyle(this.#host).fontFamily}`
    this.#plot = new uPlot(
      {
        width: this.#host.clientWidth,
        height: this.#options.height,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        scales: { x: { time: false }, y: { range: withRoom } },
        cursor: {
          y: false,
          points: { size: 7 },
          drag: { x: true, y: false },
          ...(this.#options.sync ? { sync: { key: this.#options.sync } } : {}),
        },
        axes: [
          {
            stroke: axis,
            grid: { show: false },
            ticks: { show: false },
            font,
            size: 20,
            gap: 4,
            label: 'step',
            labelSize: 15,
            labelGap: 0,
            labelFont: font,
            incrs: wholeSteps,
          },
          {
            stroke: axis,
            grid,
            ticks: { show: false },
            font,
            size: 52,
            gap: 6,
            values: (_, all) => all.map(figure),
          },
        ],
        series: [{}, ...this.#curves.map((curve, at) => this.#line(curve, at))],
        hooks: { setCursor: [(plot) => this.#options.onCursor(plot.data[0][plot.cursor.idx ?? -1])] },
      },
      this.#data(),
      this.#host,
    )
  }

  #line(curve: Curve, at: number): uPlot.Series {
    return {
      label: curve.label,
      stroke: this.#color(seriesColor(at)),
      width: 1.75,
      spanGaps: false,
      points: { show: curve.points.length < 2 },
    }
  }

  #color(name: string): string {
    const probe = document.createElement('i')
    probe.style.color = `var(${name})`
    this.#host.append(probe)
    const { color } = getComputedStyle(probe)
    probe.remove()
    return color
  }
}

export const seriesColor = (at: number): string => `--series-${(at % 6) + 1}`

const wholeSteps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6]

/** A little air above and below; a flat curve stands in the middle. */
function withRoom(_: uPlot, min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1]
  const room = max === min ? Math.abs(max) * 0.1 || 1 : (max - min) * 0.06
  return [min >= 0 && min - room < 0 ? 0 : min - room, max + room]
}
