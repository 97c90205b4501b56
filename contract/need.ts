import {
  collectResources,
  parseBytes,
  type ResourceErrors,
  resourceParts,
  type Resources,
} from './resources.ts'
import type { GpuNeed } from './scheduling.ts'

/** What one task takes, and which GPUs. */
export interface Need {
  readonly resources: Resources
  readonly gpu?: GpuNeed
}

type Value = string | number
type Given = readonly [key: string, value: Value, path: readonly string[]]

export const needError =
  'expected resources such as "cpu=4, memory=8Gi, gpu=1, gpu.model=A100" or {cpu: 4, memory: 8Gi, gpu: 1}'

/**
 * Reads `cpu=4, mem=8Gi, gpu=2, gpu.model=A100, gpu.memory=40Gi`, or the same as an object, where `gpu` may be one
 * too: `{gpu: {count: 2, model: A100}}`. Errors carry the keys that lead to the fault.
 */
export function parseNeed(
  input: string | Readonly<Record<string, Value | Readonly<Record<string, Value>>>>,
): Need | { errors: ResourceErrors } {
  const flat = typeof input === 'string' ? partsOf(input) : entriesOf(input)
  if ('errors' in flat) return flat
  const pathOf = new Map(flat.given.map(([key, , path]) => [key, path]))
  const isPlain = ([key]: Given) => !key.toLowerCase().startsWith('gpu.')
  const plain = flat.given.filter(isPlain).map(([key, value]): [string, Value] => [key, value])
  const resources = collectResources(plain, (key) => pathOf.get(key) ?? [])
  const { gpu, errors } = gpuOf(flat.given.filter((part) => !isPlain(part)))
  if (Array.isArray(resources)) return { errors: [...resources, ...errors] }
  if (!gpu || errors.length) return errors.length ? { errors } : { resources }
  // Whoever says which GPU wants one.
  const isCounted = plain.some(([key]) => /^(nvidia\.com\/)?gpu$/i.test(key))
  if (isCounted && resources.gpu === 0)
    return {
      errors: [{ path: pathOf.get('gpu') ?? [], message: 'expected at least 1 GPU beside what it must be' }],
    }
  return { resources: isCounted ? resources : { ...resources, gpu: 1 }, gpu }
}

type Flat = { given: Given[] } | { errors: ResourceErrors }

function partsOf(input: string): Flat {
  const read = resourceParts(input)
  return 'errors' in read ? read : { given: read.parts.map(([key, value]) => [key, value, []] as const) }
}

function entriesOf(input: Readonly<Record<string, Value | Readonly<Record<string, Value>>>>): Flat {
  const given: Given[] = []
  for (const [key, value] of Object.entries(input)) {
    if (typeof value !== 'object') given.push([key, value, [key]])
    else if (key === 'gpu')
      for (const [inner, of] of Object.entries(value))
        given.push([inner === 'count' ? 'gpu' : `gpu.${inner}`, of, [key, inner]])
    else return { errors: [{ path: [key], message: 'expected a text or a number' }] }
  }
  return { given }
}

const readers: { [K in keyof GpuNeed]-?: (value: string) => NonNullable<GpuNeed[K]> | { error: string } } = {
  model: (text) =>
    /^[^\u0000-\u001f\u007f]{1,100}$/.test(text)
      ? text
      : { error: 'expected a part of a model’s name, such as A100' },
  memory: size,
  mig: (text) =>
    /^\d{1,2}g\.\d{1,4}gb(\+[a-z0-9.]+)?$/i.test(text)
      ? text.toLowerCase()
      : { error: `expected a MIG profile such as 1g.10gb, not ${JSON.stringify(text.slice(0, 60))}` },
  share: size,
}

function size(text: string): number | { error: string } {
  const bytes = parseBytes(text)
  return bytes === 0 ? { error: 'expected a size above 0' } : bytes
}

function gpuOf(given: readonly Given[]): { gpu: GpuNeed | undefined; errors: ResourceErrors } {
  const gpu: Record<string, Value> = {}
  const errors: { path: readonly string[]; message: string }[] = []
  for (const [key, value, path] of given) {
    const kind = key.slice('gpu.'.length).toLowerCase()
    const fault = (message: string) => errors.push({ path, message })
    if (!Object.hasOwn(readers, kind))
      fault(`GPUs have no ${JSON.stringify(kind.slice(0, 60))}; known: model, memory, mig, share`)
    else if (Object.hasOwn(gpu, kind)) fault(`gpu.${kind} is given twice`)
    else {
      const read = readers[kind as keyof GpuNeed](String(value).trim())
      if (typeof read === 'object') fault(read.error)
      else gpu[kind] = read
    }
  }
  const both = 'mig' in gpu && 'share' in gpu
  if (both)
    errors.push({
      path: given[0]?.[2].slice(0, 1) ?? [],
      message: 'gpu.mig and gpu.share exclude each other',
    })
  return { gpu: given.length ? gpu : undefined, errors }
}
