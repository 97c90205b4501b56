import { lookup, type LookupAddress } from 'node:dns'
import { isIP } from 'node:net'
import { buildConnector } from 'undici'
import { isOfHost } from '../contract/index.ts'

type Found = (error: Error | null, addresses: LookupAddress[]) => void
type Resolve = (host: string, options: object, done: Found) => void
const all: Resolve = (host, options, done) => lookup(host, { ...options, all: true }, done)

const refused = (address: string) =>
  new Error(`${address} is not asked: it is a link-local address, where hosts keep credentials`)

/** Finds addresses, but none where hosts keep credentials, whatever a name says. */
export function guardedLookup(resolve: Resolve = all) {
  return (
    host: string,
    options: { readonly all?: boolean | undefined },
    done: (error: Error | null, address?: string | LookupAddress[], family?: number) => void,
  ): void =>
    resolve(host, options, (error, found) => {
      const bad = error ? undefined : found.find(({ address }) => isOfHost(inUrl(address)))
      if (error || bad) return done(error ?? refused(bad?.address ?? host))
      if (options.all) return done(null, found)
      done(null, found[0]?.address, found[0]?.family)
    })
}

const inUrl = (address: string) => (isIP(address) === 6 ? `[${address}]` : address)

/** How undici connects to what others have named; redirects come here too. */
export function guarded(options: buildConnector.BuildOptions): buildConnector.connector {
  const connect = buildConnector({ ...options, lookup: guardedLookup() as never })
  return (to, done) => {
    if (isOfHost(inUrl(to.hostname.replace(/^\[|\]$/g, '')))) return done(refused(to.hostname), null)
    return connect(to, done)
  }
}
