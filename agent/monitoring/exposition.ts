import type { Family, Labels, Sample } from './family.ts'

/** The two formats that Prometheus asks for. */
export type Format = 'text' | 'openmetrics'

export const contentTypes: Record<Format, string> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

/** What an Accept header prefers; the plain text for whoever says nothing that we know. */
export function formatFor(accept: string | undefined): Format {
  let best: { format: Format; q: number } = { format: 'text', q: 0 }
  for (const range of (accept ?? '').split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    const value = (name: string) => parameters.find((p) => p.startsWith(`${name}=`))?.slice(name.length + 1)
    const q = Number(value('q') ?? 1)
    const version = value('version')
    const isOpen = type === 'application/openmetrics-text' && (version === undefined || version === '1.0.0')
    const isText = ['text/plain', 'text/*', '*/*'].includes(type)
    if ((isOpen || isText) && q > best.q) best = { format: isOpen ? 'openmetrics' : 'text', q }
  }
  return best.format
}

/** The families as one text; those without samples are left out. */
export function expose(families: readonly Family[], format: Format): string {
  const lines = families.filter(({ samples }) => samples.length).flatMap((family) => linesOf(family, format))
  return [...lines, ...(format === 'openmetrics' ? ['# EOF'] : []), ''].join('\n')
}

function linesOf({ name, help, type, samples }: Family, format: Format): string[] {
  // OpenMetrics names a counter without the suffix that its samples carry.
  const named = format === 'openmetrics' && type === 'counter' ? name.replace(/_total$/, '') : name
  return [
    `# HELP ${named} ${escaped(help)}`,
    `# TYPE ${named} ${type}`,
    ...samples.map((sample) => lineOf(name, sample)),
  ]
}

function lineOf(name: string, { suffix = '', labels = {}, value }: Sample): string {
  return `${name}${suffix}${labelsText(labels)} ${numberText(value)}`
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels)
  if (!pairs.length) return ''
  return `{${pairs.map(([key, value]) => `${key}="${escaped(String(value)).replaceAll('"', '\\"')}"`).join(',')}}`
}

/** What ends a line or an escape is written as one. */
const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value)
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf'
}
