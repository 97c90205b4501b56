import type { Gpu } from '../../../contract/index.ts'
import { faultOf } from './nvidia-health.ts'
import { cutIntoSlices } from './nvidia-mig.ts'
import { bytes, child, children, type Element, number, parseLog, text } from './nvidia-xml.ts'
import { busKey, type Found, type GpuReading, type RawProcess } from './reading.ts'

/**
 * Of the output of `nvidia-smi -q -x`, whichever driver wrote it; `listing` is that of `nvidia-smi -L`, which alone
 * names the slices. Throws when it is no such output.
 */
export function parseNvidia(xml: string, listing = ''): Found {
  const log = parseLog(xml)
  const readings: GpuReading[] = []
  const lost = new Map<string, string>()
  for (const [index, gpu] of children(log, 'gpu').entries()) {
    const reading = readingOf(gpu, index, log)
    if (reading) readings.push(...cutIntoSlices(gpu, reading, listing))
    else lost.set(busKey(busOf(gpu)), lostWords(gpu))
  }
  return { readings, lost }
}

/** Whether the devices' slices have to be asked for: the log does not name them. */
export function hasSlices(xml: string): boolean {
  return xml.includes('<mig_device>')
}

const busOf = (gpu: Element): string =>
  text(child(gpu, 'pci')?.['pci_bus_id']) ?? (typeof gpu['@id'] === 'string' ? gpu['@id'] : '')

/** What the driver writes in place of everything it cannot ask a device any more. */
function lostWords(gpu: Element): string {
  const words = [gpu['uuid'], child(gpu, 'fb_memory_usage')?.['total']].find((one) => typeof one === 'string')
  return typeof words === 'string' ? words.replace(/[[\]]/g, '') : 'not readable'
}

/** Nothing for a GPU that fell off its bus: the driver then has no UUID or memory to tell. */
function readingOf(gpu: Element, index: number, log: Element): GpuReading | undefined {
  const uuid = text(gpu['uuid'])
  const memory = child(gpu, 'fb_memory_usage')
  const total = bytes(memory?.['total'])
  if (!uuid || total === null) return undefined
  const [driver, cuda, bus] = [text(log['driver_version']), text(log['cuda_version']), busOf(gpu)]
  const fault = faultOf(gpu)
  const minor = number(gpu['minor_number'])
  const description: Gpu = {
    uuid,
    index,
    vendor: 'nvidia',
    model: text(gpu['product_name']) ?? 'NVIDIA GPU',
    memory: total,
    ...(driver ? { driver } : {}),
    ...(cuda ? { cuda } : {}),
    ...(bus ? { bus_id: bus } : {}),
    ...(fault ? { fault } : {}),
  }
  return {
    gpu: description,
    usage: { uuid, ...figuresOf(gpu, memory), ...(fault ? { fault } : {}) },
    processes: processesOf(gpu),
    ...(minor === null ? {} : { minor }),
  }
}

function figuresOf(gpu: Element, memory: Element | undefined) {
  // Renamed by the drivers' generations, the newest first.
  const power = child(gpu, 'gpu_power_readings') ?? child(gpu, 'power_readings')
  return {
    utilization_percent: number(child(gpu, 'utilization')?.['gpu_util']),
    memory_used: bytes(memory?.['used']),
    temperature_c: number(child(gpu, 'temperature')?.['gpu_temp']),
    power_w:
      number(power?.['instant_power_draw']) ??
      number(power?.['average_power_draw']) ??
      number(power?.['power_draw']),
  }
}

/** Those of a whole device; a slice's carry its instance. */
export function processesOf(gpu: Element, instance?: string): RawProcess[] {
  const all = children(child(gpu, 'processes'), 'process_info')
  return all.flatMap((process): RawProcess[] => {
    const pid = number(process['pid'])
    if (pid === null || (instance !== undefined && text(process['gpu_instance_id']) !== instance)) return []
    const type = text(process['type']) ?? 'C'
    return [
      {
        pid,
        name: text(process['process_name']) ?? '',
        memory: bytes(process['used_memory']),
        // M+C: by way of NVIDIA's multi-process service.
        kind: type.includes('C') ? 'compute' : 'graphics',
      },
    ]
  })
}
