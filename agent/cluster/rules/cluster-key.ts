import { ProblemError } from '../../../contract/index.ts'
import type { SecretCommand } from '../commands/secrets.ts'
import { envelopeKey } from '../identity/envelope.ts'
import { otherThan, rewrapIn } from '../sealed.ts'
import { theCluster } from '../state.ts'
import type { Transaction } from '../transaction.ts'

type Rotate = Extract<SecretCommand, { type: 'clusterKey.rotate' }>

const changed = (what: string) => new ProblemError('conflict', `${what} meanwhile`, { hint: 'Try again.' })

/** All or nothing: afterwards the old cluster key opens nothing that the state holds. */
export function rotate(tx: Transaction, { key, from, texts }: Rotate): void {
  const row = tx.need('cluster', theCluster, 'cluster')
  if (row.key !== from) throw changed('another cluster key came into use')
  for (const text of texts)
    if (!rewrapIn(tx, key, text)) throw changed(`${text.table} ${text.id} was changed`)
  const left = otherThan(tx.state, key)
  if (left) throw changed(`${left.table} ${left.id} was added`)
  tx.put('cluster', theCluster, { ...tx.need('cluster', theCluster, 'cluster'), key })
  const message = `${tx.who} replaced the cluster key; ${texts.length} sealed texts are wrapped by the new one`
  tx.event('cluster.key_rotated', { kind: 'cluster', id: row.id }, message)
}

/** What was sealed just before a rotation, and arrives after it, would never be opened again. */
export function checkKey(tx: Transaction, sealed: string | null | undefined): void {
  const key = tx.get('cluster', theCluster)?.key
  if (key !== undefined && typeof sealed === 'string' && envelopeKey(sealed) !== key)
    throw changed('the cluster key was replaced')
}
