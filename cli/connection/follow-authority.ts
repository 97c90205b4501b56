import { X509Certificate } from 'node:crypto'
import type { Terminal } from '../terminal.ts'
import { loadConfig, saveConfig } from './config.ts'
import type { Connection } from './open.ts'
import { type Authority, readAuthority } from './trust.ts'

/**
 * The cluster's authority was replaced, as the agent said on a connection that the known one still vouches for. The new
 * one takes its place wherever it is kept for this cluster, so that the old one is trusted no longer than needed.
 */
export async function followAuthority(terminal: Terminal, { client, transport }: Connection): Promise<void> {
  const { ca: known, replacedBy } = transport
  if (known === undefined || replacedBy === undefined) return
  const held = readAuthority(known, 'the known CA')
  if (held.sha256 === replacedBy) return
  const told = readAuthority(await (await client.raw('ca.get', {})).text(), 'ca.pem')
  if (told.sha256 !== replacedBy || !isNewer(told, held)) return
  const config = await loadConfig(terminal)
  const contexts = config.contexts.filter(
    ({ ca, addresses }) =>
      ca !== undefined &&
      readAuthority(ca, 'a context').sha256 === held.sha256 &&
      addresses.some((address) => transport.addresses.includes(address)),
  )
  if (contexts.length === 0) return
  for (const context of contexts) context.ca = told.pem
  await saveConfig(terminal, config)
}

/** An agent that is behind speaks of an older one. */
const isNewer = (one: Authority, than: Authority) =>
  new X509Certificate(one.pem).validFromDate > new X509Certificate(than.pem).validFromDate
