import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../../contract/duration.ts'
import { parseBytes, parseCpu, parseGpu } from '../../contract/resources.ts'
import { Name } from '../../contract/text.ts'
import { isHostPort } from '../connection/address.ts'

// Readers of option values: commander turns what they throw into a usage error that names the option.

const reader =
  <T>(parse: (text: string) => T | { error: string }) =>
  (text: string): T => {
    const value = parse(text)
    if (typeof value === 'object' && value !== null && 'error' in value)
      throw new InvalidArgumentError(value.error + '.')
    return value
  }

export const cpuOption = reader(parseCpu)
export const bytesOption = reader(parseBytes)
export const gpuOption = reader(parseGpu)
export const durationOption = reader(parseDuration)

export const nameOption = reader((text) => {
  const parsed = Name.safeParse(text)
  return parsed.success ? text : { error: parsed.error.issues[0]?.message ?? 'expected a name' }
})

export const hostPortOption = reader((text) =>
  isHostPort(text) ? text : { error: `expected HOST:PORT, not ${JSON.stringify(text)}` },
)

export const wholeOption = (from: number, to: number) =>
  reader((text) => {
    const value = Number(text)
    return /^\d{1,15}$/.test(text) && value >= from && value <= to
      ? value
      : { error: `expected a whole number from ${from} to ${to}` }
  })

/** An RFC 3339 time, or a span such as `10 mins` back from now. */
export const sinceOption = reader((text) => {
  const span = parseDuration(text)
  if (typeof span === 'number') return new Date(Date.now() - span * 1000).toISOString()
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(time)
    ? { error: 'expected a time such as 2026-01-31T12:00:00Z or a span such as "10 mins"' }
    : new Date(time).toISOString()
})

/** `KEY=VALUE`, several times; an empty value takes the tag away. */
export const tagOption = (
  text: string,
  before: [string, string | null][] | undefined,
): [string, string | null][] => {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('expected KEY=VALUE, or KEY= to take the tag away.')
  return [...(before ?? []), [text.slice(0, at), text.slice(at + 1) || null]]
}

/** Options that may be given several times. */
export const repeated = (text: string, before: string[] | undefined): string[] => [...(before ?? []), text]
