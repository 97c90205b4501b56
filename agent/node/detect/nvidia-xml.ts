import { XMLParser } from 'fast-xml-parser'

export type Element = Record<string, unknown>

/** The root of `nvidia-smi -q -x`, whichever driver wrote it. Throws when it is no such output. */
export function parseLog(xml: string): Element {
  const lists = new Set(['gpu', 'mig_device', 'process_info'])
  // Numbers stay texts: "5.10" is a version, and most values carry a unit.
  const parser = new XMLParser({
    parseTagValue: false,
    ignoreAttributes: false,
    attributeNamePrefix: '@',
    isArray: (name) => lists.has(name),
  })
  const log = child(parser.parse(xml) as Element, 'nvidia_smi_log')
  if (!log) throw new Error('nvidia-smi answered something else than its log')
  return log
}

export function child(element: Element | undefined, name: string): Element | undefined {
  const found = element?.[name]
  return typeof found === 'object' && found !== null ? (found as Element) : undefined
}

/** Children of a name; a driver writes the word `None` or nothing at all where there are none. */
export function children(element: Element | undefined, name: string): Element[] {
  const found = element?.[name]
  return Array.isArray(found) ? found.filter((one): one is Element => typeof one === 'object') : []
}

const nothing =
  /^(|N\/A|\[?N\/A\]?|\[?Not Supported\]?|\[?Unknown Error\]?|\[?GPU is lost\]?|\[?GPU requires reset\]?|Requested functionality has been deprecated)$/i

/** undefined for what the device does not have or the driver does not tell. */
export function text(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  const trimmed = value.trim()
  return nothing.test(trimmed) ? undefined : trimmed
}

/** `42 %`, `25.39 W`, `31 C`. */
export function number(value: unknown): number | null {
  const match = /^(\d+(?:\.\d+)?)\b/.exec(text(value) ?? '')
  return match ? Number(match[1]) : null
}

/** `81559 MiB`. */
export function bytes(value: unknown): number | null {
  const mebibytes = number(value)
  return mebibytes === null ? null : Math.round(mebibytes * 1024 ** 2)
}
