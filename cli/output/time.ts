/** A time as clocks show it here, to the second, with the offset from UTC: `2026-01-31 13:00:05 +01:00`. */
export function localTime(time: string | number): string {
  const at = new Date(time)
  const two = (value: number) => String(value).padStart(2, '0')
  const offset = -at.getTimezoneOffset()
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())} ${zone}`
}
