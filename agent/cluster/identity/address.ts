import { isIP } from 'node:net'

const pattern = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})$/

/** `HOST:PORT` or `[IPV6]:PORT`, undefined when it is neither. */
export function parseAddress(address: string): { host: string; port: number } | undefined {
  const [, ipv6, name, digits] = pattern.exec(address) ?? []
  const host = ipv6 ?? name
  const port = Number(digits)
  if (!host || port < 1 || port > 65_535 || (ipv6 !== undefined && isIP(ipv6) !== 6)) return undefined
  return { host, port }
}

export function formatAddress(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

/** Where TLS connects. An IP may not stand in the server name (RFC 6066 §3). */
export function tlsEndpoint(address: string): { host: string; port: number; servername: string } {
  const parsed = parseAddress(address)
  if (!parsed) throw new Error(`not an address of the form HOST:PORT: ${address}`)
  return { ...parsed, servername: isIP(parsed.host) ? '' : parsed.host }
}
