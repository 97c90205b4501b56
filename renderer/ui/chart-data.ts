/** One curve: x grows, y is null where there is no drawable value. */
export interface Curve {
  readonly label: string
  readonly points: readonly (readonly [x: number, y: number | null])[]
}

/**
 * At most `max` points: of each stretch the lowest and the highest stay, so that no peak vanishes; so do the first and
 * the last point.
 */
export function thin(points: Curve['points'], max: number): Curve['points'] {
  if (points.length <= max || max < 4) return points
  const stretches = Math.floor((max - 2) / 2)
  const inner = points.length - 2
  const kept: (readonly [number, number | null])[] = [points[0]!]
  for (let at = 0; at < stretches; at++) {
    const from = 1 + Math.floor((at * inner) / stretches)
    const to = 1 + Math.floor(((at + 1) * inner) / stretches)
    let low = from
    let high = from
    for (let i = from; i < to; i++) {
      if ((points[i]![1] ?? Infinity) < (points[low]![1] ?? Infinity)) low = i
      if ((points[i]![1] ?? -Infinity) > (points[high]![1] ?? -Infinity)) high = i
    }
    const [first, second] = low < high ? [low, high] : [high, low]
    kept.push(points[first]!)
    if (second !== first) kept.push(points[second]!)
  }
  kept.push(points.at(-1)!)
  return kept
}

/** All curves over one x axis, as uPlot wants them; undefined marks "no point of this curve here" and draws no gap. */
export function align(curves: readonly Curve[]): [number[], ...(number | null | undefined)[][]] {
  const xs = [...new Set(curves.flatMap((curve) => curve.points.map(([x]) => x)))].sort((a, b) => a - b)
  const place = new Map(xs.map((x, at) => [x, at]))
  const columns = curves.map((curve) => {
    const column = new Array<number | null | undefined>(xs.length).fill(undefined)
    for (const [x, y] of curve.points) column[place.get(x)!] = y
    return column
  })
  return [xs, ...columns]
}

/** The value of a curve at the x nearest below, for the legend. */
export function valueAt(curve: Curve, x: number | undefined): number | null | undefined {
  if (x === undefined) return curve.points.at(-1)?.[1]
  return curve.points.findLast(([at]) => at <= x)?.[1]
}
