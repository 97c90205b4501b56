import { writeFile } from 'node:fs/promises'
import { median } from './load/meter.ts'

export interface Row {
  readonly name: string
  readonly unit: string
  readonly ours: number
  readonly peer: number | null
  /** Above 1: ours is better. */
  readonly ratio: number | null
  /** Samples on each side. */
  readonly n: number
}

const round = (n: number) => Number(n.toPrecision(4))

/** Medians of paired samples; `less` where less is better. */
export function row(
  name: string,
  unit: string,
  ours: readonly number[],
  peer: readonly number[],
  less = false,
): Row {
  const a = median(ours)
  const b = peer.length > 0 ? median(peer) : undefined
  return {
    name,
    unit,
    ours: round(a),
    peer: b === undefined ? null : round(b),
    ratio: b === undefined ? null : round(less ? b / a : a / b),
    n: ours.length,
  }
}

export function table(rows: readonly Row[], peer = 'etcd'): string {
  const text = (n: number | null) => (n === null ? '–' : n >= 100 ? n.toFixed(0) : n.toString())
  const cells = [
    ['', 'unit', 'ours', peer, 'ratio', 'n'],
    ...rows.map((r) => [
      r.name,
      r.unit,
      text(r.ours),
      text(r.peer),
      r.ratio === null ? '–' : r.ratio.toFixed(2),
      `${r.n}`,
    ]),
  ]
  const widths = cells[0]?.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0))) ?? []
  return cells
    .map((line) =>
      line.map((c, i) => (i < 2 ? c.padEnd(widths[i] ?? 0) : c.padStart(widths[i] ?? 0))).join('  '),
    )
    .join('\n')
}

export async function report(rows: readonly Row[], json: string | undefined, peer?: string): Promise<void> {
  console.log(table(rows, peer))
  if (json !== undefined) await writeFile(json, JSON.stringify(rows, null, 2) + '\n')
}
