import { z } from 'zod'

/** What one task reserves. cpu in cores (thousandths count), memory and disk in bytes, gpu in whole devices. */
export const Resources = z
  .strictObject({
    cpu: z.number().positive().max(4096),
    memory: z.int().positive(),
    gpu: z.int().min(0).max(64),
    disk: z.int().min(0),
  })
  .meta({ id: 'Resources' })
export type Resources = z.infer<typeof Resources>

export const defaultResources: Resources = { cpu: 1, memory: 1024 ** 3, gpu: 0, disk: 0 }

/** Suffixes are binary however they are spelled: 20gb = 20G = 20Gi = 20 GiB (requirements E2). */
const suffixes: Record<string, number> = { '': 1, k: 1, m: 2, g: 3, t: 4, p: 5 }
const memoryPattern = /^(\d+(?:\.\d+)?)\s*(?:([kmgtp])(?:i?b?)|b)?$/i

/** Bytes of `2048M`, `20gb`, `8Gi`, `512` (bytes); an error text when it is none of them. */
export function parseBytes(input: string | number): number | { error: string } {
  if (typeof input === 'number') return wholeBytes(input)
  const match = memoryPattern.exec(input.trim())
  if (!match) return { error: `expected a size such as 512Mi, 20gb or 2048M, not ${quote(input)}` }
  const suffix = match[2]?.toLowerCase() ?? ''
  return wholeBytes(Number(match[1]) * (suffix ? 1024 ** (suffixes[suffix] ?? 0) : 1))
}

function wholeBytes(value: number): number | { error: string } {
  const bytes = Math.round(value)
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > 1024 ** 5)
    return { error: 'expected a size from 0 to 1 Pi' }
  return bytes
}

/** Cores of `4`, `0.5`, `500m` (thousandths). */
export function parseCpu(input: string | number): number | { error: string } {
  const match = /^(\d+(?:\.\d+)?)(m?)$/.exec(String(input).trim())
  const cores = match ? Number(match[1]) / (match[2] ? 1000 : 1) : NaN
  if (!(cores >= 0.001 && cores <= 4096))
    return { error: `expected cores such as 4, 0.5 or 500m, not ${quote(input)}` }
  return Math.round(cores * 1000) / 1000
}

export function parseGpu(input: string | number): number | { error: string } {
  const text = String(input).trim()
  if (!/^\d{1,2}$/.test(text) || Number(text) > 64)
    return { error: `expected a whole number of GPUs from 0 to 64, not ${quote(input)}` }
  return Number(text)
}

type Kind = keyof Resources
const spellings: Record<string, Kind> = {
  cpu: 'cpu',
  vcore: 'cpu',
  vcores: 'cpu',
  mem: 'memory',
  memory: 'memory',
  gpu: 'gpu',
  'nvidia.com/gpu': 'gpu',
  disk: 'disk',
}
const parsers: Record<Kind, (value: string | number) => number | { error: string }> = {
  cpu: parseCpu,
  memory: (value) => positive(parseBytes(value)),
  gpu: parseGpu,
  disk: parseBytes,
}
const positive = (value: number | { error: string }) =>
  value === 0 ? { error: 'expected a size above 0' } : value

export type ResourceErrors = { readonly path: readonly string[]; readonly message: string }[]

/** `mem=20gb, vcore=3, gpu=2` or `cpu=4,memory=2048M,nvidia.com/gpu=1`; parts left out take the default. */
export function parseResourceString(input: string): Resources | ResourceErrors {
  const given = resourceParts(input)
  return 'errors' in given ? given.errors : collectResources(given.parts, () => [])
}

/** The `KEY=VALUE` parts of such a text. */
export function resourceParts(input: string): { parts: [string, string][] } | { errors: ResourceErrors } {
  const parts: [string, string][] = []
  for (const part of input.split(',').map((each) => each.trim())) {
    const at = part.indexOf('=')
    const message = `expected KEY=VALUE parts such as mem=20gb, vcore=3, gpu=2, not ${quote(part)}`
    if (at < 1) return { errors: [{ path: [], message }] }
    parts.push([part.slice(0, at).trim(), part.slice(at + 1).trim()])
  }
  return { parts }
}

/** The same from an object, `{cpu: 4, memory: "8Gi", gpu: 1}`; errors carry the key as their path. */
export function parseResourceObject(input: Record<string, string | number>): Resources | ResourceErrors {
  return collectResources(Object.entries(input), (key) => [key])
}

/** Resources of keys and values as people write them. */
export function collectResources(
  given: [string, string | number][],
  pathOf: (key: string) => readonly string[],
): Resources | ResourceErrors {
  const result: Resources = { ...defaultResources }
  const seen = new Set<Kind>()
  const errors: ResourceErrors = []
  for (const [key, value] of given) {
    const kind = Object.hasOwn(spellings, key.toLowerCase()) ? spellings[key.toLowerCase()] : undefined
    const path = pathOf(key)
    if (!kind)
      errors.push({
        path,
        message: `unknown resource ${quote(key)}; known: cpu, memory, gpu, disk, gpu.model, gpu.memory, gpu.mig, gpu.share`,
      })
    else if (seen.has(kind)) errors.push({ path, message: `${kind} is given twice` })
    else {
      seen.add(kind)
      const parsed = parsers[kind](value)
      if (typeof parsed === 'number') result[kind] = parsed
      else errors.push({ path, message: parsed.error })
    }
  }
  return errors.length ? errors : result
}

const quote = (value: string | number) => JSON.stringify(String(value).slice(0, 60))

/** `20gb`-style text of a number of bytes, exact to one decimal: for people, not for parsing back. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1)
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${units[power]}`
}
