/** Nanoseconds since 1970 of an RFC 3339 time with up to nine decimals. */
export function nanoseconds(time: string): bigint {
  const match = /^(.{19})(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/.exec(time)
  const seconds = match ? Date.parse(`${match[1]}${match[3]}`) / 1000 : NaN
  if (!Number.isFinite(seconds)) throw new Error(`not a time: ${time}`)
  return BigInt(seconds) * 1_000_000_000n + BigInt((match?.[2] ?? '').padEnd(9, '0'))
}

/** RFC 3339 in UTC with nine decimals, so that times sort as texts do. */
export function rfc3339(ns: bigint): string {
  const whole = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19)
  return `${whole}.${String(ns % 1_000_000_000n).padStart(9, '0')}Z`
}

/** RFC 3339 with milliseconds, as the contract's times are. */
export function milliseconds(time: string): string {
  return new Date(Number(nanoseconds(time) / 1_000_000n)).toISOString()
}
