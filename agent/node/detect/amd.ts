import type { Gpu, GpuLink, Reason } from '../../../contract/index.ts'
import { type Found, type GpuReading, type RawProcess } from './reading.ts'

type Json = Record<string, unknown>

/** The outputs of amd-smi's verbs, each with `--json`; topology and process are worth having, the rest is needed. */
export interface AmdOutputs {
  readonly list: string
  readonly static: string
  readonly metric: string
  readonly topology?: string | undefined
  readonly process?: string | undefined
}

/** Devices as amd-smi tells of them. Throws when an output is something else. */
export function parseAmd(outputs: AmdOutputs): Found {
  const [statics, metrics] = [byGpu(outputs.static), byGpu(outputs.metric)]
  const processes = byGpu(outputs.process ?? '[]')
  const links = amdLinks(outputs.topology ?? '[]')
  const listed = [...byGpu(outputs.list)]
  const uuids = new Map(listed.map(([index, entry]) => [index, uuidOf(entry, statics.get(index))]))
  const readings = listed.flatMap(([index, entry]): GpuReading[] => {
    const [fixed, now] = [statics.get(index) ?? {}, metrics.get(index) ?? {}]
    const uuid = uuids.get(index)
    if (!uuid) return []
    const fault = faultOf(now)
    return [
      {
        gpu: { ...describe(index, uuid, entry, fixed), ...linked(links.get(index), uuids), ...fault },
        usage: { uuid, ...figures(now), ...fault },
        processes: processesOf(processes.get(index)),
      },
    ]
  })
  return { readings, lost: new Map() }
}

/** An array of objects with their `gpu`; from version 26 on inside `gpu_data`. */
function byGpu(output: string): Map<number, Json> {
  const parsed = JSON.parse(output) as unknown
  const list = Array.isArray(parsed) ? parsed : (parsed as { gpu_data?: unknown } | null)?.gpu_data
  if (!Array.isArray(list)) throw new Error('amd-smi answered something else than a list of GPUs')
  return new Map(
    (list as Json[]).flatMap((one) => (typeof one['gpu'] === 'number' ? [[one['gpu'], one]] : [])),
  )
}

/**
 * As the compute driver spells it, so that it can be asked for by it: from the serial. Cards for screens have none and
 * are known by what amd-smi made up or where they are plugged in. The parts of a partitioned one share its serial.
 */
function uuidOf(entry: Json, fixed: Json | undefined): string | undefined {
  const serial = word(at(fixed, 'asic', 'asic_serial'))
    ?.replace(/^0x/i, '')
    .toLowerCase()
    .padStart(16, '0')
  const own = serial && !/^0+$/.test(serial) ? serial : word(entry['uuid'])
  const bus = word(entry['bdf'])
  const uuid = own ? `GPU-${own}` : bus && `GPU-at-${bus}`
  const partition = amount(entry['partition_id']) ?? 0
  return uuid && partition > 0 ? `${uuid}-${partition}` : uuid
}

function describe(index: number, uuid: string, entry: Json, fixed: Json): Gpu {
  const bus = word(entry['bdf']) ?? word(at(fixed, 'bus', 'bdf'))
  const driver = word(at(fixed, 'driver', 'version'))
  const numa = amount(at(fixed, 'numa', 'node'))
  return {
    uuid,
    index,
    vendor: 'amd',
    model: word(at(fixed, 'asic', 'market_name')) ?? word(at(fixed, 'board', 'product_name')) ?? 'AMD GPU',
    memory: bytesOf(at(fixed, 'vram', 'size') ?? at(fixed, 'vram', 'vram_size')) ?? 0,
    ...(driver ? { driver } : {}),
    ...(bus ? { bus_id: bus } : {}),
    ...(numa === null || numa < 0 ? {} : { numa }),
  }
}

function figures(now: Json) {
  const temperature = at(now, 'temperature', 'edge')
  return {
    utilization_percent: amount(at(now, 'usage', 'gfx_activity')),
    memory_used: bytesOf(at(now, 'mem_usage', 'used_vram') ?? at(now, 'vram', 'vram_used')),
    temperature_c: amount(temperature) ?? amount(at(now, 'temperature', 'hotspot')),
    power_w: amount(at(now, 'power', 'socket_power')) ?? amount(at(now, 'power', 'current_socket_power')),
  }
}

function faultOf(now: Json): { fault: Reason } | undefined {
  const errors = amount(at(now, 'ecc', 'total_uncorrectable_count')) ?? 0
  if (!errors) return undefined
  const message = `${errors} uncorrectable memory errors (ECC) since the driver was loaded; reset it or restart the host`
  return { fault: { code: 'gpu_memory_errors', message } }
}

function processesOf(entry: Json | undefined): RawProcess[] {
  const list = entry?.['process_list']
  if (!Array.isArray(list)) return []
  return (list as Json[]).flatMap((one): RawProcess[] => {
    // Without one it holds a sentence instead of an object.
    const info = one['process_info'] as Json | string
    if (typeof info !== 'object') return []
    const pid = amount(info['pid'])
    const memory = bytesOf(at(info, 'memory_usage', 'vram_mem')) ?? bytesOf(info['mem_usage'])
    // What amd-smi lists has opened the compute driver; a compositor has not.
    return pid === null ? [] : [{ pid, name: word(info['name']) ?? '', memory, kind: 'compute' }]
  })
}

function amdLinks(output: string): Map<number, Map<number, GpuLink>> {
  const links = new Map<number, Map<number, GpuLink>>()
  for (const [from, entry] of byGpu(output)) {
    const to = new Map<number, GpuLink>()
    for (const link of (entry['links'] as Json[] | undefined) ?? []) {
      const gpu = link['gpu']
      if (typeof gpu === 'number' && gpu !== from) to.set(gpu, link['link_type'] === 'XGMI' ? 'XGMI' : 'PHB')
    }
    links.set(from, to)
  }
  return links
}

function linked(
  links: ReadonlyMap<number, GpuLink> | undefined,
  uuids: ReadonlyMap<number, string | undefined>,
) {
  if (!links?.size) return {}
  const named = [...links].flatMap(([index, link]) => {
    const uuid = uuids.get(index)
    return uuid ? [[uuid, link] as const] : []
  })
  return { links: Object.fromEntries(named) }
}

function at(value: unknown, ...path: string[]): unknown {
  let found = value
  for (const key of path)
    found = typeof found === 'object' && found !== null ? (found as Json)[key] : undefined
  return found
}

function word(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() && value !== 'N/A' ? value.trim() : undefined
}

/** A number, its text, or `{value, unit}`; null when there is none. */
function amount(value: unknown): number | null {
  const bare = typeof value === 'object' ? at(value, 'value') : value
  const number = typeof bare === 'string' ? Number.parseFloat(bare) : bare
  return typeof number === 'number' && Number.isFinite(number) ? number : null
}

const units: Record<string, number> = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 }
function bytesOf(value: unknown): number | null {
  const number = amount(value)
  const unit = typeof value === 'string' ? /[KMG]?B$/.exec(value)?.[0] : at(value, 'unit')
  return number === null ? null : Math.round(number * (units[String(unit)] ?? 1))
}
