import net from 'node:net'
import { UsageError } from '../failure.ts'

export const defaultPort = 7460

/** `host`, `host:port` or a URL → origin. Plain HTTP is for this machine alone: elsewhere the token could be read. */
export function originOf(input: string): string {
  const text = input.trim().replace(/\/+$/, '')
  const host = net.isIPv6(text) ? `[${text}]` : text
  let url: URL
  try {
    url = new URL(/^https?:\/\//i.test(host) ? host : `https://${host}`)
  } catch {
    throw notAnAddress(input)
  }
  if (!url.hostname || url.username || url.password || url.search || url.hash || url.pathname !== '/')
    throw notAnAddress(input)
  if (url.protocol === 'http:' && !isLoopback(url.hostname))
    throw new UsageError(
      `plain HTTP is only for this machine, not for ${url.hostname}`,
      `Use https://${url.hostname}.`,
    )
  // new URL() drops a port that is the scheme's own; ours differs, so it is read from the text.
  const port = /:(\d+)$/.exec(host)?.[1]
  return `${url.protocol}//${url.hostname}:${port ?? (url.protocol === 'http:' ? 80 : defaultPort)}`
}

const notAnAddress = (input: string) =>
  new UsageError(
    `not an address: ${JSON.stringify(input)}`,
    `Give HOST, HOST:PORT (default ${defaultPort}) or https://HOST:PORT.`,
  )

export function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '')
  return host === 'localhost' || host === '::1' || (net.isIPv4(host) && host.startsWith('127.'))
}

/** `HOST:PORT` as agents take it for --advertise and --bind. */
export function isHostPort(text: string): boolean {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text)
  if (!match || Number(match[3]) < 1 || Number(match[3]) > 65535) return false
  return match[1] === undefined || net.isIPv6(match[1])
}
