const units: Record<string, number> = {
  s: 1, sec: 1, secs: 1, second: 1, seconds: 1,
  m: 60, min: 60, mins: 60, minute: 60, minutes: 60,
  h: 3600, hour: 3600, hours: 3600, hr: 3600, hrs: 3600,
  d: 86400, day: 86400, days: 86400,
} // prettier-ignore
const part = /(\d+(?:\.\d+)?)\s*([a-z]+)\s*/giy
const year = 366 * 86400

/** Seconds of `30 mins`, `1h30m`, `45s`, `2 days`; a bare number is seconds. An error text when it is none of them. */
export function parseDuration(input: string | number): number | { error: string } {
  const expected = {
    error: `expected a duration such as 30 mins, 1h30m or 45s, not ${JSON.stringify(String(input).slice(0, 60))}`,
  }
  const text = String(input).trim().toLowerCase()
  let seconds = 0
  if (/^\d+(\.\d+)?$/.test(text)) seconds = Number(text)
  else {
    part.lastIndex = 0
    let at = 0
    while (at < text.length) {
      const match = part.exec(text)
      const unit = match?.[2] && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined
      if (!match || unit === undefined) return expected
      seconds += Number(match[1]) * unit
      at = part.lastIndex
    }
  }
  if (!(seconds >= 1 && seconds <= year)) return { error: 'expected a duration from 1 second to 366 days' }
  return Math.round(seconds)
}

/** `1h 5m`, `45s`: the two largest units. */
export function formatDuration(seconds: number): string {
  const [d, h, m, s] = [
    Math.floor(seconds / 86400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
    Math.floor(seconds) % 60,
  ]
  if (d) return `${d}d ${h}h`
  if (h) return `${h}h ${m}m`
  return m ? `${m}m ${s}s` : `${s}s`
}
