import net from 'node:net'
import { ProblemError } from '../../contract/problem.ts'

const defaultPort = 7460

/** `host`, `host:port` or a URL → origin. Plain HTTP only for this machine: elsewhere a password could be read. */
export function originOf(input: string): string {
  const text = input.trim().replace(/\/+$/, '')
  const host = net.isIPv6(text) ? `[${text}]` : text
  const url = URL.parse(/^https?:\/\//i.test(host) ? host : `https://${host}`)
  if (!url?.hostname || url.pathname !== '/' || url.username || url.password || url.search || url.hash)
    throw refused(`not an address: ${JSON.stringify(input)}`)
  if (url.protocol === 'http:' && !isLoopback(url.hostname))
    throw refused(`plain HTTP is only for this machine, not for ${url.hostname}`)
  // URL drops a port that is the scheme's own; ours differs, so it is read from the text.
  const port = /:(\d+)$/.exec(host)?.[1] ?? (url.protocol === 'http:' ? 80 : defaultPort)
  return `${url.protocol}//${url.hostname}:${port}`
}

const refused = (message: string) =>
  new ProblemError('invalid_request', message, { hint: `Give HOST or HOST:PORT (default ${defaultPort}).` })

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' || hostname === '[::1]' || (net.isIPv4(hostname) && hostname.startsWith('127.'))
  )
}
