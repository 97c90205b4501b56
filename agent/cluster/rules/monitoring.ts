import type { MonitoringCommand } from '../commands/monitoring.ts'
import type { Transaction } from '../transaction.ts'
import { theCluster } from '../state.ts'

type Of<T extends MonitoringCommand['type']> = Extract<MonitoringCommand, { type: T }>

export function createMonitorToken(
  tx: Transaction,
  { sha256, user, expires_at }: Of<'monitorToken.create'>,
): void {
  tx.need('users', user, 'user')
  tx.put('tokens', sha256, { user, created_at: tx.at, expires_at, only: 'monitoring' })
  tx.event(
    'monitoring.token_created',
    subjectOf(tx),
    `${tx.who} made a token that reads metrics, good until ${expires_at}`,
  )
}

export function revokeMonitorTokens(tx: Transaction): void {
  const keys = [...tx.state.tokens].flatMap(([key, token]) => (token.only === 'monitoring' ? [key] : []))
  for (const key of keys) tx.delete('tokens', key)
  const which = keys.length === 1 ? 'the token that reads' : `the ${keys.length} tokens that read`
  if (keys.length)
    tx.event('monitoring.tokens_revoked', subjectOf(tx), `${tx.who} took back ${which} metrics`)
}

const subjectOf = (tx: Transaction) =>
  ({ kind: 'cluster', id: tx.get('cluster', theCluster)?.id ?? '' }) as const
