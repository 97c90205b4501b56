import { holdsResources } from '../../../contract/index.ts'
import type { NodeRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'

/** Said when the last task has left a node that is emptied. */
export function noticeDrained(tx: Transaction, id: string): void {
  const node = tx.get('nodes', id)
  const drain = node?.cordon?.drain
  if (!node || !drain) return
  if (tx.state.tasks.some((task) => task.node === id && holdsResources(task.state))) return
  const then = drain.reboot ? 'restarted' : drain.power_off ? 'switched off' : 'worked on'
  tellOf(tx, node, 'node.drained', `is empty: it may be ${then}`)
}

/** What happened to a node, in a sentence that begins with its name. */
export function tellOf(tx: Transaction, { id, name }: NodeRow, code: string, what: string): void {
  tx.event(code, { kind: 'node', id }, `${name} ${what}`)
}
