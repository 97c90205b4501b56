import { processesOf } from './nvidia.ts'
import { bytes, child, children, type Element, text } from './nvidia-xml.ts'
import type { GpuReading } from './reading.ts'

interface Slice {
  readonly parent: string
  readonly index: number
  readonly profile: string
  readonly uuid: string
}

/** The device, and when it is cut into slices, each of them as a device of its own. */
export function cutIntoSlices(gpu: Element, whole: GpuReading, listing: string): GpuReading[] {
  if (text(child(gpu, 'mig_mode')?.['current_mig']) !== 'Enabled') return [whole]
  const named = slicesIn(listing).filter(({ parent }) => parent === whole.gpu.uuid)
  const slices = children(child(gpu, 'mig_devices'), 'mig_device').flatMap((slice) => {
    const index = Number(text(slice['index']))
    const name = named.find((one) => one.index === index)
    return name ? [sliceReading(gpu, whole, slice, name)] : []
  })
  return [{ ...whole, gpu: { ...whole.gpu, mig_mode: true } }, ...slices]
}

function sliceReading(gpu: Element, whole: GpuReading, slice: Element, { uuid, profile }: Slice): GpuReading {
  const memory = child(slice, 'fb_memory_usage')
  const { temperature_c, power_w, fault } = whole.usage
  return {
    gpu: {
      ...whole.gpu,
      uuid,
      memory: bytes(memory?.['total']) ?? 0,
      mig: { parent: whole.gpu.uuid, profile },
    },
    usage: {
      uuid,
      // The driver measures no load of a slice, and the heat and power only of the whole.
      utilization_percent: null,
      memory_used: bytes(memory?.['used']),
      temperature_c,
      power_w,
      ...(fault ? { fault } : {}),
    },
    processes: processesOf(gpu, text(slice['gpu_instance_id']) ?? ''),
    ...(whole.minor === undefined ? {} : { minor: whole.minor }),
  }
}

const deviceLine = /^GPU \d+: .*\(UUID: (GPU-[^)]+)\)/
const sliceLine = /^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)/

/** Slices in the output of `nvidia-smi -L`. */
export function slicesIn(listing: string): Slice[] {
  const slices: Slice[] = []
  let parent = ''
  for (const line of listing.split('\n')) {
    parent = deviceLine.exec(line)?.[1] ?? parent
    const [, profile, index, uuid] = sliceLine.exec(line) ?? []
    if (profile && uuid) slices.push({ parent, index: Number(index), profile, uuid })
  }
  return slices
}

/** UUIDs of the devices in the output of `nvidia-smi -L`: of a GPU with slices those of the slices. */
export function listedUuids(listing: string): string[] {
  const slices = slicesIn(listing)
  const cut = new Set(slices.map(({ parent }) => parent))
  const whole = listing.split('\n').flatMap((line) => deviceLine.exec(line)?.[1] ?? [])
  return [...whole.filter((uuid) => !cut.has(uuid)), ...slices.map(({ uuid }) => uuid)]
}
