import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { XMLParser } from 'fast-xml-parser'
import type { Gpu, Usage } from '../../../contract/index.ts'

/** A GPU as `nvidia-smi` tells of it: what it is, and how it does just now. */
export interface GpuReading {
  readonly gpu: Gpu
  readonly usage: Usage['gpus'][number]
}

/** Its readings, nothing when the host has no NVIDIA driver. Throws when the driver does not answer well. */
export async function readNvidia(program = 'nvidia-smi', timeoutMs = 20_000): Promise<GpuReading[]> {
  try {
    // A broken GPU can make it hang for minutes.
    const { stdout } = await promisify(execFile)(program, ['-q', '-x'], {
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: 64 * 1024 * 1024,
    })
    return parseNvidia(stdout)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

type Element = Record<string, unknown>

/** Of the output of `nvidia-smi -q -x`, whichever driver wrote it. Throws when it is no such output. */
export function parseNvidia(xml: string): GpuReading[] {
  // Numbers stay texts: "5.10" is a version, and most values carry a unit.
  const parser = new XMLParser({ parseTagValue: false, isArray: (name) => name === 'gpu' })
  const log = child(parser.parse(xml) as Element, 'nvidia_smi_log')
  if (!log) throw new Error('nvidia-smi answered something else than its log')
  const gpus = Array.isArray(log['gpu']) ? (log['gpu'] as Element[]) : []
  return gpus.flatMap((gpu, index) => reading(gpu, index, log) ?? [])
}

/** Nothing for a GPU that fell off its bus: the driver then has no UUID or memory to tell. */
function reading(gpu: Element, index: number, log: Element): GpuReading | undefined {
  const uuid = text(gpu['uuid'])
  const memory = child(gpu, 'fb_memory_usage')
  const total = bytes(memory?.['total'])
  if (!uuid || total === null) return undefined
  const [driver, cuda] = [text(log['driver_version']), text(log['cuda_version'])]
  // Renamed by the drivers' generations, the newest first.
  const power = child(gpu, 'gpu_power_readings') ?? child(gpu, 'power_readings')
  return {
    gpu: {
      uuid,
      index,
      vendor: 'nvidia',
      model: text(gpu['product_name']) ?? 'NVIDIA GPU',
      memory: total,
      ...(driver ? { driver } : {}),
      ...(cuda ? { cuda } : {}),
    },
    usage: {
      uuid,
      utilization_percent: number(child(gpu, 'utilization')?.['gpu_util']),
      memory_used: bytes(memory?.['used']),
      temperature_c: number(child(gpu, 'temperature')?.['gpu_temp']),
      power_w:
        number(power?.['instant_power_draw']) ??
        number(power?.['average_power_draw']) ??
        number(power?.['power_draw']),
    },
  }
}

function child(element: Element, name: string): Element | undefined {
  const found = element[name]
  return typeof found === 'object' && found !== null ? (found as Element) : undefined
}

/** undefined for what the device does not have. */
function text(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  const trimmed = value.trim()
  return /^(|N\/A|\[?N\/A\]?|\[?Not Supported\]?|\[?Unknown Error\]?|\[?GPU is lost\]?)$/i.test(trimmed)
    ? undefined
    : trimmed
}

/** `42 %`, `25.39 W`, `31 C`. */
function number(value: unknown): number | null {
  const match = /^(\d+(?:\.\d+)?)\b/.exec(text(value) ?? '')
  return match ? Number(match[1]) : null
}

/** `24576 MiB`. */
function bytes(value: unknown): number | null {
  const match = /^(\d+) MiB$/.exec(text(value) ?? '')
  return match ? Number(match[1]) * 1024 ** 2 : null
}
