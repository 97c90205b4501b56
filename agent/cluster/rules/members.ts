import { formatBytes, ProblemError } from '../../../contract/index.ts'
import type { Command, Results } from '../commands.ts'
import { type NodeRow, theCluster } from '../state.ts'
import { ownedOf, tellOfDevices } from './devices.ts'
import type { Transaction } from '../transaction.ts'
import { addUser } from './users.ts'
import { loseEarlierBoots } from './loss.ts'
import { rebooted } from './node-operations.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

/** The node of a member. Member ids are never used again, so node ids are not either. */
export const nodeIdOf = (member: number) => `node-${member}`

export function createCluster(tx: Transaction, command: Of<'cluster.create'>): void {
  if (tx.get('cluster', theCluster)) throw new ProblemError('conflict', 'the cluster exists already')
  const { id, name, ca, sealed_ca_key, admin } = command
  tx.put('cluster', theCluster, { id, name, created_at: tx.at, ca, sealed_ca_key, next_member: 1 })
  addUser(tx, { rank: 'admin', ...admin })
  tx.event('cluster.created', { kind: 'cluster', id }, `cluster ${name} was created`)
  addNode(tx, command.node.name, command.node.address)
}

export function createJoinToken(tx: Transaction, { sha256, expires_at }: Of<'joinToken.create'>): void {
  for (const [key, token] of tx.state.joinTokens) if (token.expires_at <= tx.at) tx.delete('joinTokens', key)
  tx.put('joinTokens', sha256, { expires_at })
}

export function joinNode(
  tx: Transaction,
  { token_sha256, name, address }: Of<'node.join'>,
): Results['node.join'] {
  const token = tx.get('joinTokens', token_sha256)
  if (!token || token.expires_at <= tx.at)
    throw new ProblemError(
      'bad_credentials',
      'this join token is not known: it was used, has expired, or is of another cluster',
      {
        hint: 'Make a new one with `submarine cluster token`.',
      },
    )
  if (tx.state.nodes.some((node) => node.name === name))
    throw new ProblemError('already_exists', `a node named ${name} is in the cluster already`, {
      hint:
        `If this is that host without its old data, remove the old node first: \`submarine node remove ${name}\`. ` +
        'If it is another host, start its agent with another --name.',
    })
  tx.delete('joinTokens', token_sha256)
  return addNode(tx, name, address)
}

function addNode(tx: Transaction, name: string, address: string): Results['node.join'] {
  const cluster = tx.need('cluster', theCluster, 'cluster')
  const member = cluster.next_member
  const node = nodeIdOf(member)
  tx.put('cluster', theCluster, { ...cluster, next_member: member + 1 })
  tx.put('nodes', node, {
    id: node, name, member, address, joined_at: tx.at, inventory: null, allocatable: null, gpus: [],
  }) // prettier-ignore
  tx.event('node.joined', { kind: 'node', id: node }, `node ${name} joined as ${node}`)
  return { member, node }
}

export function reportReplica(tx: Transaction, { node, differs, message }: Of<'node.replica'>): void {
  const row = tx.need('nodes', node, 'node')
  tx.put('nodes', node, { ...row, state_differs: differs ? message : null })
  tx.event(differs ? 'node.state_differs' : 'node.state_equal', { kind: 'node', id: node }, message)
}

/** A host that was restarted runs nothing of before, and says so by its boot. */
function newBoot(tx: Transaction, row: NodeRow, boot: string): NodeRow {
  if (row.boot_id === boot) return row
  if (row.boot_id == null) return { ...row, boot_id: boot }
  const next = rebooted(tx, row, boot)
  loseEarlierBoots(tx, row, boot)
  return next
}

export function reportNode(
  tx: Transaction,
  { node, address, inventory, allocatable, gpus, boot_id }: Of<'node.report'>,
): void {
  const before = tx.need('nodes', node, 'node')
  const row = boot_id === undefined ? before : newBoot(tx, before, boot_id)
  const { owned, refused } = ownedOf(tx, node, gpus)
  tx.put('nodes', node, {
    ...row,
    address,
    inventory,
    allocatable: { ...allocatable, gpu: owned.length },
    gpus: owned,
    refused_gpus: refused.map(({ uuid }) => uuid),
  })
  if (!row.inventory) {
    const { cpu, memory } = allocatable
    tx.event(
      'node.ready',
      { kind: 'node', id: node },
      `node ${row.name} offers ${cpu} cores, ${formatBytes(memory)} of memory and ${owned.length} GPUs`,
    )
  }
  tellOfDevices(tx, row, inventory, refused)
}
