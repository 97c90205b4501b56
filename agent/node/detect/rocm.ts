import type { Gpu, GpuLink } from '../../../contract/index.ts'
import type { Found, GpuReading } from './reading.ts'

type Card = Readonly<Record<string, string>>

/**
 * Of the output of `rocm-smi --showallinfo --json`, for hosts older than amd-smi. It tells processes only in words, so
 * foreign ones are not seen there; names of fields changed their spelling between versions 4 and 6.
 */
export function parseRocm(output: string): Found {
  // Before its JSON it may print warnings.
  const parsed = JSON.parse(output.slice(Math.max(0, output.indexOf('{')))) as Record<string, Card>
  const system = parsed['system'] ?? {}
  const cards = Object.entries(parsed)
    .flatMap(([name, card]) => (/^card\d+$/.test(name) ? [{ index: Number(name.slice(4)), card }] : []))
    .toSorted((a, b) => a.index - b.index)
  if (!cards.length && !parsed['system']) throw new Error('rocm-smi answered something else than its cards')
  const uuids = new Map(cards.map(({ index, card }) => [index, uuidOf(card)]))
  const readings = cards.flatMap(({ index, card }): GpuReading[] => {
    const uuid = uuids.get(index)
    if (!uuid) return []
    const gpu = { ...describe(index, uuid, card, system), ...linked(index, uuids, system) }
    return [{ gpu, usage: { uuid, ...figures(card) }, processes: [] }]
  })
  return { readings, lost: new Map() }
}

function field(card: Card, ...names: string[]): string | undefined {
  const spellings = new Set(names.map((name) => name.toLowerCase()))
  const found = Object.entries(card).find(
    ([name, value]) => spellings.has(name.toLowerCase()) && typeof value === 'string' && value !== 'N/A',
  )
  return found?.[1]
}

const figure = (card: Card, ...names: string[]): number | null => {
  const value = Number.parseFloat(field(card, ...names) ?? '')
  return Number.isFinite(value) ? value : null
}

/** Cards for screens have no number of their own: they are known by where they are plugged in. */
function uuidOf(card: Card): string | undefined {
  const unique = field(card, 'Unique ID')?.replace(/^0x/, '')
  const bus = field(card, 'PCI Bus')
  return unique ? `GPU-${unique.padStart(16, '0')}` : bus && `GPU-at-${bus}`
}

function describe(index: number, uuid: string, card: Card, system: Card): Gpu {
  const [driver, bus] = [field(system, 'Driver version'), field(card, 'PCI Bus')]
  const numa = figure(card, '(Topology) Numa Node')
  // Some versions print ids where the name should be.
  const names = [field(card, 'Card Series'), field(card, 'Card Model'), field(card, 'Device Name')]
  return {
    uuid,
    index,
    vendor: 'amd',
    model: names.find((name) => name && !/^0x/.test(name)) ?? 'AMD GPU',
    memory: figure(card, 'VRAM Total Memory (B)') ?? 0,
    ...(driver ? { driver } : {}),
    ...(bus ? { bus_id: bus } : {}),
    ...(numa === null || numa < 0 ? {} : { numa }),
  }
}

function figures(card: Card) {
  return {
    utilization_percent: figure(card, 'GPU use (%)'),
    memory_used: figure(card, 'VRAM Total Used Memory (B)'),
    temperature_c: figure(card, 'Temperature (Sensor edge) (C)', 'Temperature (Sensor junction) (C)'),
    power_w: figure(card, 'Average Graphics Package Power (W)', 'Current Socket Graphics Package Power (W)'),
  }
}

function linked(index: number, uuids: ReadonlyMap<number, string | undefined>, system: Card) {
  const links: Record<string, GpuLink> = {}
  for (const [other, uuid] of uuids) {
    const [low, high] = [Math.min(index, other), Math.max(index, other)]
    const type = field(system, `(Topology) Link type between DRM devices ${low} and ${high}`)
    const hops = figure(system, `(Topology) Hops between DRM devices ${low} and ${high}`)
    // Two hops over PCIe stay on one host bridge, more cross to another.
    if (uuid && type) links[uuid] = type === 'XGMI' ? 'XGMI' : (hops ?? 2) > 2 ? 'SYS' : 'PHB'
  }
  return Object.keys(links).length ? { links } : {}
}
