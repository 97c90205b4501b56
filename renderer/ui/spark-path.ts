/** SVG path of percentages, the newest at the right edge; nothing for fewer than two. */
export function sparkPath(
  values: readonly number[],
  slots: number,
  height: number,
): { line: string; left: number; right: number } | undefined {
  const shown = values.slice(-slots)
  if (shown.length < 2) return undefined
  const left = slots - shown.length + 1
  const points = shown.map((value, at) => {
    const share = Math.min(100, Math.max(0, value)) / 100
    return `${left + at} ${(height - 2 - share * (height - 4)).toFixed(1)}`
  })
  return { line: `M ${points.join(' L ')}`, left, right: slots }
}
