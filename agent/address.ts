import { hostname, networkInterfaces } from 'node:os'
import { formatAddress, parseAddress } from './cluster/identity/address.ts'
import type { AgentOptions } from './options.ts'
import { ProblemError } from '../contract/index.ts'

export const defaultBind = '0.0.0.0:7460'

/** Where the agent listens, and the address it tells the others. Throws ProblemError `invalid_request`. */
export function addressesOf(options: Pick<AgentOptions, 'bind' | 'advertise'>): {
  host: string
  port: number
  advertise: string
} {
  const bind = parseAddress(options.bind ?? defaultBind)
  if (!bind) throw new ProblemError('invalid_request', `--bind: expected HOST:PORT, not ${options.bind}`)
  const advertise = options.advertise ?? formatAddress(isAny(bind.host) ? ownAddress() : bind.host, bind.port)
  if (!parseAddress(advertise))
    throw new ProblemError('invalid_request', `--advertise: expected HOST:PORT, not ${advertise}`)
  return { ...bind, advertise }
}

const isAny = (host: string) => host === '0.0.0.0' || host === '::'

/** The first address that other hosts could reach; a laptop without a network has only its loopback. */
function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1'
}

/** A node name from the host's, made of what a name may hold. */
export function defaultName(): string {
  const name = hostname()
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replaceAll(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '')
  return name.slice(0, 63) || 'node'
}
