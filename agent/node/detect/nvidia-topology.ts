import { GpuLink } from '../../../contract/index.ts'

/** How the devices of a host are connected, by their index. */
export interface Topology {
  readonly links: ReadonlyMap<number, ReadonlyMap<number, GpuLink>>
  readonly numa: ReadonlyMap<number, number>
}

/**
 * Of the output of `nvidia-smi topo -m`. Newer ones separate columns by tabs, which may stand two in a row, and
 * underline the heading; older and copied ones only align them.
 */
export function parseTopology(output: string): Topology {
  const lines = output.replaceAll(/\x1b\[[0-9;]*m/g, '').split('\n')
  const heading = lines.find((line) => /^\s*GPU0\b/.test(line))
  const links = new Map<number, Map<number, GpuLink>>()
  const numa = new Map<number, number>()
  if (heading === undefined) return { links, numa }
  const columns = cells(heading)
  for (const line of lines.slice(lines.indexOf(heading) + 1)) {
    const [name = '', ...values] = cells(line)
    const row = indexOf(name)
    if (row === undefined) continue
    links.set(row, linksOf(columns, values))
    const node = Number(values[columns.indexOf('NUMA Affinity')] || NaN)
    if (Number.isInteger(node)) numa.set(row, node)
  }
  return { links, numa }
}

function linksOf(columns: readonly string[], values: readonly string[]): Map<number, GpuLink> {
  const links = new Map<number, GpuLink>()
  for (const [at, column] of columns.entries()) {
    const to = indexOf(column)
    const link = GpuLink.safeParse(values[at])
    if (to !== undefined && link.success) links.set(to, link.data)
  }
  return links
}

function cells(line: string): string[] {
  const parts = line.includes('\t') ? line.split('\t') : line.trim().split(/ {2,}/)
  const trimmed = parts.map((part) => part.trim())
  // The heading has nothing above the rows' names.
  return trimmed[0] === '' ? trimmed.slice(1) : trimmed
}

function indexOf(name: string): number | undefined {
  const match = /^GPU(\d+)$/.exec(name)
  return match ? Number(match[1]) : undefined
}
