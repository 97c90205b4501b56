import { holdsResources, ProblemError, type Reason } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { NodeRow, TaskRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { retireIfDone } from './authority.ts'
import { forgetNode } from './images.ts'
import { loseAllOn } from './loss.ts'

/** An admin takes a node out for good. Its member follows: the leader makes raft's membership as the nodes are. */
export function removeNode(
  tx: Transaction,
  { node: id, force }: Extract<Command, { type: 'node.remove' }>,
): void {
  const node = tx.need('nodes', id, 'node')
  if (tx.state.nodes.size === 1)
    throw new ProblemError('conflict', `${node.name} is the only node of the cluster`, {
      hint: 'Let another host join first. To end the cluster, stop the agent and delete its data folder.',
    })
  const running = [...tx.state.tasks.values()].filter(
    (task) => task.node === id && holdsResources(task.state),
  )
  if (!force) checkDispensable(tx, node, running)
  tx.delete('nodes', id)
  forgetNode(tx, id)
  tx.event('node.removed', { kind: 'node', id }, `${tx.who} removed node ${node.name}`)
  const reason: Reason = {
    code: 'node_removed',
    message: `${tx.who} removed node ${node.name} while it ran there`,
  }
  loseAllOn(tx, id, reason)
  retireIfDone(tx)
}

/** Nothing runs there, and nothing is kept there alone. */
function checkDispensable(tx: Transaction, { id, name }: NodeRow, running: readonly TaskRow[]): void {
  if (running.length)
    throw new ProblemError('conflict', `${name} runs ${tasks(running)}`, {
      hint: 'Stop them first. If the host is gone for good, --force counts them as failed.',
    })
  const isAlone = (kept: { readonly holders: readonly string[] } | null) =>
    !!kept?.holders.includes(id) && kept.holders.every((holder) => holder === id || !tx.get('nodes', holder))
  const kept = [...tx.state.tasks.values()].filter((task) =>
    [task.log, task.metrics, task.artifacts].some(isAlone),
  )
  const image = tx.state.images.find(isAlone)
  if (!kept.length && !image && !tx.state.blobs.some(isAlone)) return
  const what = kept.length ? `what was kept of ${tasks(kept)}` : image ? `the image ${image.names[0] ?? image.digest}` : 'an uploaded file' // prettier-ignore
  throw new ProblemError('conflict', `${name} holds the only copy of ${what}`, {
    hint: 'While its agent runs, a second copy is made within a minute. --force gives the only copy up.',
  })
}

function tasks(rows: readonly TaskRow[]): string {
  const names = rows.slice(0, 3).map((task) => task.id)
  return names.join(', ') + (rows.length > 3 ? ` and ${rows.length - 3} more` : '')
}
