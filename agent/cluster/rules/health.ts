import { formatDuration } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import { theCluster } from '../state.ts'
import type { Transaction } from '../transaction.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

/** A node fell silent, or is heard again. The leader judges by its own clock; here stands what people read. */
export function liveness(tx: Transaction, { node, unreachable, silent_ms }: Of<'node.liveness'>): void {
  const row = tx.need('nodes', node, 'node')
  const since = row.unreachable_since ?? null
  if ((since !== null) === unreachable) return
  const subject = { kind: 'node', id: node } as const
  if (unreachable) {
    const from = new Date(Date.parse(tx.at) - silent_ms).toISOString()
    tx.put('nodes', node, { ...row, unreachable_since: from })
    return tx.event('node.unreachable', subject, `${row.name} does not answer since ${from}`)
  }
  tx.put('nodes', node, { ...row, unreachable_since: null })
  const away = Math.max(0, Date.parse(tx.at) - Date.parse(since ?? tx.at)) / 1000
  tx.event('node.returned', subject, `${row.name} answers again, after ${formatDuration(away)}`)
}

/** Who leads, told when it is another than before. */
export function lead(tx: Transaction, { node }: Of<'cluster.lead'>): void {
  const cluster = tx.need('cluster', theCluster, 'cluster')
  if (cluster.leader === node) return
  const before = cluster.leader && (tx.get('nodes', cluster.leader)?.name ?? cluster.leader)
  const { name } = tx.need('nodes', node, 'node')
  tx.put('cluster', theCluster, { ...cluster, leader: node })
  if (before)
    tx.event(
      'cluster.leader_changed',
      { kind: 'cluster', id: cluster.id },
      `${name} leads now, before it ${before}`,
    )
}
