import { mostLabels, ProblemError } from '../../../contract/index.ts'
import type { Command } from '../commands.ts'
import type { Cordon, NodeRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { noticeDrained, tellOf } from './drained.ts'
import { loseAllOn } from './loss.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

const because = (reason: string) => (reason ? `: ${reason}` : '')

export function cordon(tx: Transaction, { node: id, reason }: Of<'node.cordon'>): void {
  const node = tx.need('nodes', id, 'node')
  if (node.cordon && !node.cordon.drain && node.cordon.reason === reason) return
  putCordon(tx, node, { reason, drain: null })
  tellOf(tx, node, 'node.cordoned', `takes nothing new, says ${tx.who}${because(reason)}`)
}

export function drain(tx: Transaction, command: Of<'node.drain'>): void {
  const node = tx.need('nodes', command.node, 'node')
  const { reason, deadline, grace_seconds, power_off } = command
  putCordon(tx, node, { reason, drain: { deadline, grace_seconds, ...(power_off ? { power_off } : {}) } })
  const off = power_off ? ', to be switched off' : ''
  tellOf(tx, node, 'node.draining', `is emptied until ${deadline}${off}, says ${tx.who}${because(reason)}`)
  noticeDrained(tx, node.id)
}

export function rebootNotice(tx: Transaction, command: Of<'node.reboot_notice'>): void {
  const node = tx.need('nodes', command.node, 'node')
  const { reason, deadline, grace_seconds } = command
  putCordon(tx, node, { reason, drain: { deadline, grace_seconds, reboot: true } })
  tellOf(
    tx,
    node,
    'node.reboot_notice',
    `will be restarted after ${deadline}, says ${tx.who}${because(reason)}`,
  )
  noticeDrained(tx, node.id)
}

function putCordon(
  tx: Transaction,
  node: NodeRow,
  { reason, drain }: Pick<Cordon, 'reason' | 'drain'>,
): void {
  tx.put('nodes', node.id, { ...node, cordon: { by: tx.who, at: tx.at, reason, drain } })
}

export function uncordon(tx: Transaction, { node: id }: Of<'node.uncordon'>): void {
  const node = tx.need('nodes', id, 'node')
  if (!node.cordon) return
  tx.put('nodes', id, { ...node, cordon: null })
  tellOf(tx, node, 'node.uncordoned', `takes new work again, says ${tx.who}`)
}

/** A merge patch (RFC 7396). */
export function label(tx: Transaction, { node: id, labels }: Of<'node.label'>): void {
  const node = tx.need('nodes', id, 'node')
  const next = new Map(Object.entries(node.labels ?? {}))
  const changes: string[] = []
  for (const [key, value] of Object.entries(labels)) {
    if ((next.get(key) ?? null) === value) continue
    if (value === null) next.delete(key)
    else next.set(key, value)
    changes.push(value === null ? `${key} taken away` : `${key}=${value}`)
  }
  if (!changes.length) return
  if (next.size > mostLabels)
    throw new ProblemError('invalid_request', undefined, {
      errors: [
        { pointer: '/labels', message: `expected at most ${mostLabels} labels in all, not ${next.size}` },
      ],
    })
  tx.put('nodes', id, { ...node, labels: Object.fromEntries(next) })
  tellOf(tx, node, 'node.labelled', `was labelled by ${tx.who}: ${changes.join(', ')}`)
}

export function rename(tx: Transaction, { node: id, name }: Of<'node.rename'>): void {
  const node = tx.need('nodes', id, 'node')
  if (node.name === name) return
  const taken = tx.state.nodes.find((other) => other.id !== id && (other.name === name || other.id === name))
  if (taken) throw new ProblemError('already_exists', `a node is named ${name} already: ${taken.id}`)
  tx.put('nodes', id, { ...node, name })
  tellOf(tx, node, 'node.renamed', `is now named ${name}, says ${tx.who}`)
}

export function confirmDown(tx: Transaction, { node: id }: Of<'node.confirm_down'>): void {
  const node = tx.need('nodes', id, 'node')
  if (!node.unreachable_since)
    throw new ProblemError('conflict', `${node.name} answers: it is not down`, {
      hint: 'To empty a host that works, drain it. To take it out for good, remove it.',
    })
  const message = `${tx.who} confirmed that ${node.name} is down`
  tx.event('node.confirmed_down', { kind: 'node', id }, message)
  loseAllOn(tx, id, { code: 'node_down', message })
}

/** Another boot: nothing of before runs there any more, and a restart that was announced is over. */
export function rebooted(tx: Transaction, node: NodeRow, boot: string): NodeRow {
  tellOf(tx, node, 'node.rebooted', 'was restarted')
  if (!node.cordon?.drain?.reboot) return { ...node, boot_id: boot }
  tellOf(tx, node, 'node.uncordoned', 'takes new work again after its restart')
  return { ...node, boot_id: boot, cordon: null }
}
