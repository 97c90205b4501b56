import { formatBytes } from '../../contract/resources.ts'
import { formatDuration } from '../../contract/duration.ts'

/** What stands where a figure is not known: never a reassuring zero. */
export const unknown = '–'

type Maybe = number | null | undefined

export const bytes = (value: Maybe): string => (value == null ? unknown : formatBytes(value))

export const percent = (value: Maybe): string => (value == null ? unknown : `${Math.round(value)}%`)

/** Cores without useless zeros: 0.5, 4, 12.3. */
export const cores = (value: Maybe): string =>
  value == null ? unknown : String(Math.round(value * (value < 10 ? 100 : 10)) / (value < 10 ? 100 : 10))

export const count = (value: number, one: string, many = `${one}s`): string =>
  `${value} ${value === 1 ? one : many}`

export const share = (part: Maybe, whole: Maybe): number | null =>
  part == null || !whole ? null : Math.min(1, Math.max(0, part / whole))

/** A metric's value with four significant digits: 0.03912 → 0.03912, 1234.567 → 1235, 1e-7 as it is. */
export function figure(value: number | string | null | undefined): string {
  if (value == null) return unknown
  if (typeof value === 'string') return value
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2)
  return String(Number(value.toPrecision(4)))
}

/** How long something has run: up to its end, or up to now. */
export function duration(from: string | null, to: string | null, now: number): string {
  if (from === null) return unknown
  const ms = (to === null ? now : Date.parse(to)) - Date.parse(from)
  // The page's clock and the cluster's may differ by a little.
  return formatDuration(Math.max(0, ms) / 1000)
}

/** `just now`, `3m ago`: the largest unit alone. */
export function ago(time: string, now: number): string {
  const seconds = (now - Date.parse(time)) / 1000
  if (seconds < 5) return 'just now'
  return `${formatDuration(seconds).split(' ')[0]} ago`
}

const sameDay = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const otherDay = new Intl.DateTimeFormat(undefined, {
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
})

/** Local time; with the day when it is not today. */
export function localTime(time: string, now: number): string {
  const date = new Date(time)
  return (date.toDateString() === new Date(now).toDateString() ? sameDay : otherDay).format(date)
}

/** What hovering a time shows. */
export const utc = (time: string): string => `${time.slice(0, 19).replace('T', ' ')} UTC`

/** A digest's beginning, for tables. */
export const short = (digest: string): string => digest.slice(0, 12)
