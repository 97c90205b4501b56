import { ProblemError } from '../../../contract/index.ts'
import type { AuthorityCommand } from '../commands/authority.ts'
import { fingerprint } from '../identity/ca.ts'
import { type ClusterRow, type State, theCluster } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { checkKey } from './cluster-key.ts'

type Of<T extends AuthorityCommand['type']> = Extract<AuthorityCommand, { type: T }>

/** Whoever slept through more replacements than this trusts nothing that is shown, and signs in or joins anew. */
const mostLinks = 4

/** Names of the nodes that have no certificate of the present authority, as far as they told. */
export function withoutCertificate({ cluster, nodes }: Pick<State, 'cluster' | 'nodes'>): string[] {
  const row = cluster.get(theCluster)
  if (!row) return []
  const ca = fingerprint(row.ca)
  const late = [...nodes.values()].filter(({ certificate }) => certificate?.ca !== ca)
  return late.map(({ name }) => name)
}

/** Both count from here on, so that nobody is cut off while certificates are renewed. */
export function rotate(tx: Transaction, { from, ca, sealed_ca_key, link }: Of<'authority.rotate'>): void {
  const row = tx.need('cluster', theCluster, 'cluster')
  if (row.former_ca !== undefined) throw underWay(tx)
  if (fingerprint(row.ca) !== from)
    throw new ProblemError('conflict', 'the certificate authority was replaced meanwhile', { hint: 'Nothing else needs to be done.' }) // prettier-ignore
  checkKey(tx, sealed_ca_key)
  const ca_links = [link, ...(row.ca_links ?? [])].slice(0, mostLinks)
  tx.put('cluster', theCluster, { ...row, ca, sealed_ca_key, former_ca: row.ca, ca_links })
  // They name the old authority, and whoever joined by one would not find it.
  for (const key of tx.state.joinTokens.keys()) tx.delete('joinTokens', key)
  const message = `${tx.who} replaced the certificate authority; the old one counts until all nodes have new certificates`
  tx.event('cluster.ca_replaced', { kind: 'cluster', id: row.id }, message)
}

export function finish(tx: Transaction): void {
  const row = tx.need('cluster', theCluster, 'cluster')
  if (row.former_ca === undefined)
    throw new ProblemError('conflict', 'no former certificate authority counts any more', {
      hint: '`submarine cluster rotate-ca` makes a new one.',
    })
  retire(tx, row, withoutCertificate(tx.state))
}

export function certificate(tx: Transaction, { node, key, ca }: Of<'node.certificate'>): void {
  const row = tx.need('nodes', node, 'node')
  // It is by this key that a node is known when nothing else of its certificate counts any more.
  if (row.certificate && row.certificate.key !== key)
    throw new ProblemError('conflict', `${row.name} has another key than the one it is known by`)
  tx.put('nodes', node, { ...row, certificate: { key, ca } })
  retireIfDone(tx)
}

/** The former authority goes with the last certificate of it. */
export function retireIfDone(tx: Transaction): void {
  const row = tx.get('cluster', theCluster)
  if (row?.former_ca !== undefined && withoutCertificate(tx.state).length === 0) retire(tx, row, [])
}

function retire(tx: Transaction, row: ClusterRow, late: readonly string[]): void {
  const { former_ca: _, ...rest } = row
  tx.put('cluster', theCluster, rest)
  const message = late.length
    ? `${tx.who} ended what the old certificate authority counts for; without a new certificate yet: ${late.join(', ')}`
    : 'all nodes have certificates of the new authority; the old one counts no more'
  tx.event('cluster.ca_retired', { kind: 'cluster', id: row.id }, message)
}

function underWay(tx: Transaction): ProblemError {
  const late = withoutCertificate(tx.state)
  return new ProblemError('conflict', `the certificate authority is being replaced: ${late.join(', ')} ${late.length > 1 ? 'have' : 'has'} no new certificate yet`, {
    hint: 'It ends by itself when all have. `submarine cluster rotate-ca --finish` ends it now; who was away gets its certificate when it is back.',
  }) // prettier-ignore
}
