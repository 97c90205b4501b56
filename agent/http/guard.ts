import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { ProblemError } from '../../contract/index.ts'

/** All but what is read by programs: the console's pages may be linked to from anywhere. */
const isPage = /^\/(?!api(?:[/?]|$)|metrics(?:[/?]|$))/
const changing = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

export interface GuardDeps {
  /** HOST:PORT this cluster is known by: advertised and bound addresses, the state's node addresses. */
  readonly hosts: () => Iterable<string>
  /** Names of this machine, good with whatever port it listens on. */
  readonly names: ReadonlySet<string>
}

interface Connection {
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  readonly encrypted?: boolean
}

/**
 * A page from elsewhere must not reach an agent through its visitor's browser. By DNS rebinding it would come under a
 * host name of its own, so only names of this cluster are served; by a plain request it would come with an
 * origin of its own, so nothing is changed for any origin but the console's.
 */
export function guard(request: FastifyRequest, deps: GuardDeps): void {
  const connection: Connection = request.raw.socket
  const scheme = connection.encrypted ? 'https' : 'http'
  const host = (request.headers.host ?? String(request.headers[':authority'] ?? '')).toLowerCase()
  checkHost(host, scheme, connection, deps)
  if (changing.has(request.method)) checkOrigin(request, `${scheme}://${host}`)
  else if (!isPage.test(request.url)) checkReader(request, `${scheme}://${host}`)
}

function checkHost(
  host: string,
  scheme: string,
  { localAddress = '', localPort }: Connection,
  { hosts, names }: GuardDeps,
): void {
  const asked = split(host, scheme)
  if (asked) {
    const here = asked.port === localPort
    if (here && (isLoopback(asked.name) || asked.name === plain(localAddress) || names.has(asked.name)))
      return
    for (const known of hosts()) {
      const allowed = split(known.toLowerCase(), scheme)
      if (allowed?.name === asked.name && allowed.port === asked.port) return
    }
  }
  throw new ProblemError('foreign_host', `this agent is not known as ${host.slice(0, 260) || '(no host)'}`)
}

/** Name without brackets and final dot, and the port. */
function split(host: string, scheme: string): { name: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::(\d{1,5}))?$/.exec(host)
  const name = match?.[1] ?? match?.[2]?.replace(/\.$/, '')
  if (!match || !name) return undefined
  return { name, port: match[3] ? Number(match[3]) : scheme === 'https' ? 443 : 80 }
}

/** Names that only this machine answers to. */
function isLoopback(name: string): boolean {
  return name === 'localhost' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'))
}

/** IPv4 as a dual-stack socket shows it: `::ffff:10.0.0.1`. */
const plain = (address: string) => address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '')

function checkOrigin({ headers }: FastifyRequest, own: string): void {
  const { origin } = headers
  const site = headers['sec-fetch-site']
  if (origin !== undefined && origin.toLowerCase() !== own)
    throw new ProblemError('foreign_origin', `requests from ${origin.slice(0, 260)} may change nothing here`)
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new ProblemError('foreign_origin')
  // A browser sends the cookie by itself, so it proves nothing about who asks; programs send a bearer token.
  const byCookie = headers.cookie !== undefined && headers.authorization === undefined
  if (byCookie && origin === undefined && site !== 'same-origin')
    throw new ProblemError('foreign_origin', 'a request with a cookie must say its origin', {
      hint: 'Programs send `Authorization: Bearer …` instead of the cookie.',
    })
}

/** Streams and handshakes too: another site's page reads nothing here, though its visitor's browser would ask for it. */
function checkReader({ headers }: FastifyRequest, own: string): void {
  const { origin } = headers
  if (origin !== undefined && origin.toLowerCase() !== own)
    throw new ProblemError('foreign_origin', `pages of ${origin.slice(0, 260)} may read nothing here`)
  const site = headers['sec-fetch-site']
  // Following a link, or coming back from an identity provider, gives the page that it was on nothing to read.
  const isLink = headers['sec-fetch-mode'] === 'navigate'
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && !isLink)
    throw new ProblemError('foreign_origin')
}
