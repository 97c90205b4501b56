import { ProblemError } from '../../../contract/index.ts'
import type { OrderCommand } from '../commands/order.ts'
import type { NodeRow, ReservationRow } from '../state.ts'
import type { Transaction } from '../transaction.ts'
import { workloadOf } from '../workloads.ts'
import { holdersOf } from './holdings.ts'
import { endsBy, isHolder, overlaps } from './reserved.ts'

type Of<T extends OrderCommand['type']> = Extract<OrderCommand, { type: T }>

/** So long after its end a reservation is still shown, ms. */
const keepMs = 30 * 24 * 3600_000

export function create(
  tx: Transaction,
  { type: _type, over_running, ...asked }: Of<'reservation.create'>,
): void {
  const { id, name, nodes, holders } = asked
  const starts_at = instant(asked.starts_at, '/starts_at')
  const ends_at = instant(asked.ends_at, '/ends_at')
  if (tx.get('reservations', id)) throw new ProblemError('conflict', `the id ${id} is taken`)
  if (starts_at >= ends_at) throw invalid('/ends_at', 'expected a time after its begin')
  if (ends_at <= tx.at) throw invalid('/ends_at', 'expected a time to come')
  if (!nodes.length || new Set(nodes).size !== nodes.length)
    throw invalid('/nodes', 'expected one node or more, each once')
  if (!holders.length) throw invalid('/holders', 'expected user:NAME or team:NAME')
  const kept = new Date(Date.parse(tx.at) - keepMs).toISOString()
  for (const [key, row] of tx.state.reservations) if (row.ends_at < kept) tx.delete('reservations', key)
  const row = { ...asked, starts_at, ends_at, created_by: tx.actor, resource_version: tx.index }
  for (const node of nodes) checkNode(tx, tx.need('nodes', node, 'node'), row, over_running)
  tx.put('reservations', id, row)
  const names = nodes.map((node) => tx.get('nodes', node)?.name ?? node).join(', ')
  const what =
    row.gpus === null ? names : `${row.gpus} ${row.gpus === 1 ? 'GPU' : 'GPUs'} on each of ${names}`
  tx.event('reservation.created', { kind: 'reservation', id }, `${tx.who} reserved ${what} for ${holders.join(', ')} from ${starts_at} to ${ends_at} (${name})`) // prettier-ignore
}

/** No two reservations want the same, and nobody else is still there when it begins. */
function checkNode(tx: Transaction, node: NodeRow, row: ReservationRow, overRunning: boolean): void {
  const all = node.gpus.length
  if (row.gpus !== null && row.gpus > all)
    throw new ProblemError('conflict', `${node.name} has ${all} GPUs, not ${row.gpus}`, {
      hint: 'Reserve fewer of each node, or leave the number out for whole nodes.',
    })
  const same = [...tx.state.reservations.values()].filter(
    (other) => other.nodes.includes(node.id) && overlaps(other, row),
  )
  const whole = same.find((other) => other.gpus === null || row.gpus === null)
  const sum = same.reduce((gpus, other) => gpus + (other.gpus ?? all), row.gpus ?? all)
  const first = whole ?? same[0]
  if (first && (whole || sum > all))
    throw new ProblemError(
      'conflict',
      `${node.name} is reserved already (${first.name}) from ${first.starts_at} to ${first.ends_at}`,
      {
        hint: 'Choose another time or other nodes, or delete that one first; see `submarine reservation list`.',
      },
    )
  if (overRunning) return
  const at = Math.max(Date.parse(row.starts_at), Date.parse(tx.at))
  const staying = holdersOf(tx.state, node.id).filter((task) => {
    const workload = workloadOf(tx.state, task.workload)
    return workload && !isHolder(row, workload) && !endsBy(workload, task, at)
  })
  const gpus = new Set(staying.flatMap((task) => task.gpus)).size
  if (row.gpus === null ? staying.length === 0 : gpus + sum <= all) return
  throw new ProblemError('conflict', `${staying[0]?.id} may still run on ${node.name} when the reservation begins`, {
    hint: 'Let it begin later, drain the node, or reserve it over what runs: that runs on to its time limit, or makes room when it begins if it has none.',
  }) // prettier-ignore
}

export function remove(tx: Transaction, { id }: Of<'reservation.delete'>): void {
  const { name } = tx.need('reservations', id, 'reservation')
  tx.delete('reservations', id)
  tx.event('reservation.deleted', { kind: 'reservation', id }, `${tx.who} took back the reservation ${name}`)
}

/** Times are compared as texts, so there is one text for each. */
function instant(time: string, pointer: string): string {
  const at = Date.parse(time)
  if (Number.isNaN(at)) throw invalid(pointer, 'expected a time such as 2026-01-31T12:00:00Z')
  return new Date(at).toISOString()
}

const invalid = (pointer: string, message: string) =>
  new ProblemError('invalid_request', undefined, { errors: [{ pointer, message }] })
