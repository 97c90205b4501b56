import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Gpu, GpuLink } from '../../../contract/index.ts'
import { parseAmd } from './amd.ts'
import { hasSlices, parseNvidia } from './nvidia.ts'
import { parseTopology, type Topology } from './nvidia-topology.ts'
import { busKey, type Found, type GpuReading } from './reading.ts'
import { parseRocm } from './rocm.ts'
import { ask } from './tool.ts'

export interface Tools {
  readonly nvidiaSmi?: string
  readonly amdSmi?: string
  readonly rocmSmi?: string
  readonly timeoutMs?: number
  /** Where the kernel describes its devices. */
  readonly sysfs?: string
  /** Where NVIDIA's kernel driver lists its devices by bus id. */
  readonly driver?: string
}

/** What the host's GPUs are, by vendor; undefined: it has no driver of that vendor. */
export type Vendor = () => Promise<Found | undefined>

/** How devices are connected does not change while they stay the same; asking for it takes seconds on large hosts. */
export function nvidia(tools: Tools = {}): Vendor {
  let known: { of: string; topology: Topology } | undefined
  return async () => {
    const found = await readNvidia(tools)
    if (!found) return undefined
    const { readings, lost } = found
    const of = readings.map(({ gpu }) => gpu.uuid).join()
    if (known?.of !== of) {
      // It is worth having and no more: without it all sets of devices are alike.
      const told = readings.length && !lost.size ? await smi(tools, ['topo', '-m']).catch(() => '') : ''
      known = { of, topology: parseTopology(told ?? '') }
    }
    return { readings: await placed(readings, known.topology, tools.sysfs), lost }
  }
}

const smi = ({ nvidiaSmi = 'nvidia-smi', timeoutMs }: Tools, words: readonly string[]) =>
  ask(nvidiaSmi, words, timeoutMs)

async function parsed(tools: Tools, xml: string): Promise<Found> {
  return parseNvidia(xml, hasSlices(xml) ? await smi(tools, ['-L']) : '')
}

/** nvidia-smi tells nothing at all while one device does not answer; then the others are asked for by themselves. */
async function readNvidia(tools: Tools): Promise<Found | undefined> {
  const lost = new Map<string, string>()
  let rest: string[] = []
  for (;;)
    try {
      const xml = await smi(tools, ['-q', '-x', ...(rest.length ? ['-i', rest.join()] : [])])
      if (xml === undefined) return undefined
      const found = await parsed(tools, xml)
      return lost.size ? renumbered(found, lost) : found
    } catch (error) {
      const message = error instanceof Error ? error.message : ''
      if (message.includes('No devices were found')) return { readings: [], lost }
      const [, bus, words] = /device handle for GPU\s*([0-9a-f:.]+): (.+)/i.exec(message) ?? []
      if (!bus || !words || lost.has(busKey(bus))) throw error
      lost.set(busKey(bus), words)
      rest = (await busIds(tools)).filter((one) => !lost.has(busKey(one)))
      if (!rest.length) return { readings: [], lost }
    }
}

/** As the kernel's driver knows them, whether or not they answer. */
async function busIds({ driver = '/proc/driver/nvidia/gpus' }: Tools): Promise<string[]> {
  return readdir(driver).catch(() => [])
}

/** The driver numbers devices by their place on the bus, those that do not answer too. */
function renumbered({ readings }: Found, lost: ReadonlyMap<string, string>): Found {
  const buses = readings.flatMap(({ gpu }) => (gpu.bus_id === undefined ? [] : [busKey(gpu.bus_id)]))
  const order = [...new Set([...buses, ...lost.keys()])].toSorted()
  const index = (gpu: Gpu) => (gpu.bus_id === undefined ? gpu.index : order.indexOf(busKey(gpu.bus_id)))
  return { readings: readings.map((one) => ({ ...one, gpu: { ...one.gpu, index: index(one.gpu) } })), lost }
}

async function placed(
  readings: readonly GpuReading[],
  { links, numa }: Topology,
  sysfs: string | undefined,
): Promise<GpuReading[]> {
  const whole = new Map(readings.flatMap(({ gpu }) => (gpu.mig ? [] : [[gpu.index, gpu.uuid]])))
  return Promise.all(
    readings.map(async (reading) => {
      const { gpu } = reading
      const node = numa.get(gpu.index) ?? (await numaOf(gpu.bus_id, sysfs))
      const to = gpu.mig ? new Map<number, GpuLink>() : (links.get(gpu.index) ?? new Map<number, GpuLink>())
      const named = [...to].flatMap(([index, link]) => {
        const uuid = whole.get(index)
        return uuid ? [[uuid, link] as const] : []
      })
      return {
        ...reading,
        gpu: {
          ...gpu,
          ...(node === undefined ? {} : { numa: node }),
          ...(named.length ? { links: Object.fromEntries(named) } : {}),
        },
      }
    }),
  )
}

/** By amd-smi; on hosts that do not have it yet by its predecessor. */
export function amd({ amdSmi = 'amd-smi', rocmSmi = 'rocm-smi', timeoutMs, sysfs }: Tools = {}): Vendor {
  return async () => {
    const found = (await readAmd(amdSmi, timeoutMs)) ?? (await readRocm(rocmSmi, timeoutMs))
    if (!found) return undefined
    const readings = found.readings.map(async (reading) => {
      const device = await renderNode(reading.gpu.bus_id, sysfs)
      return device ? { ...reading, gpu: { ...reading.gpu, device } } : reading
    })
    return { ...found, readings: await Promise.all(readings) }
  }
}

async function readAmd(program: string, timeoutMs: number | undefined): Promise<Found | undefined> {
  const verb = (name: string) => ask(program, [name, '--json'], timeoutMs)
  const list = await verb('list')
  if (list === undefined) return undefined
  const [fixed, metric] = [await verb('static'), await verb('metric')]
  const topology = await verb('topology').catch(() => undefined)
  const process = await verb('process').catch(() => undefined)
  return parseAmd({ list, static: fixed ?? '', metric: metric ?? '', topology, process })
}

async function readRocm(program: string, timeoutMs: number | undefined): Promise<Found | undefined> {
  const output = await ask(program, ['--showallinfo', '--json'], timeoutMs)
  return output === undefined ? undefined : parseRocm(output)
}

/** The kernel's folder of a device; the vendors spell its bus id in their own ways. */
function folderOf(bus: string, sysfs = '/sys'): string {
  const [domain = '', ...rest] = bus.toLowerCase().split(':')
  return path.join(sysfs, 'bus/pci/devices', [domain.slice(-4), ...rest].join(':'))
}

async function numaOf(bus: string | undefined, sysfs: string | undefined): Promise<number | undefined> {
  if (bus === undefined) return undefined
  const told = await readFile(path.join(folderOf(bus, sysfs), 'numa_node'), 'utf8').catch(() => '')
  const node = Number.parseInt(told, 10)
  // −1: the host has but one, or its firmware does not say.
  return node >= 0 ? node : undefined
}

async function renderNode(bus: string | undefined, sysfs: string | undefined): Promise<string | undefined> {
  if (bus === undefined) return undefined
  const names = await readdir(path.join(folderOf(bus, sysfs), 'drm')).catch((): string[] => [])
  const node = names.find((name) => /^renderD\d+$/.test(name))
  return node && `/dev/dri/${node}`
}
