import { holdsResources, isFinal, type Reason } from '../../contract/index.ts'
import { nodeIdOf } from '../cluster/rules/members.ts'
import { settle, taskEvent } from '../cluster/rules/settle.ts'
import { type Kept, type State, theCluster } from '../cluster/state.ts'
import { Transaction } from '../cluster/transaction.ts'
import type { StoredEvent } from '../store/state-db.ts'

/** A cluster that goes on from a state that is known, with one member, whoever else it had. */
export interface NewGroup {
  readonly cluster: {
    readonly id: string
    readonly name: string
    readonly ca: string
    readonly sealed_ca_key: string
    /** Id of the cluster key that sealed it. */
    readonly key: string
  }
  readonly node: { readonly name: string; readonly address: string }
  /** The old node whose host this is, with its tasks and files; without one nothing that lay on hosts is there any more. */
  readonly survivor?: string
  /** Sign-ins of the old cluster go on. */
  readonly keepTokens: boolean
  readonly event: { readonly code: string; readonly message: string }
  /** Why tasks that ran elsewhere are counted as failed. */
  readonly lost: string
}

export interface Regrouped {
  readonly state: State
  readonly events: readonly StoredEvent[]
  readonly member: number
  readonly node: string
  readonly lostNodes: readonly string[]
  readonly failedTasks: readonly string[]
}

/** The state as the new group begins with it. Every change is made by the same means as any other. */
export function regroup(state: State, index: number, at: string, group: NewGroup): Regrouped {
  const tx = new Transaction(state, index, at, 'system')
  const row = tx.need('cluster', theCluster, 'cluster')
  const member = row.next_member
  const node = nodeIdOf(member)
  const { former_ca: _, ca_links, ...kept } = row
  // Who trusts an older authority goes on to follow, unless this one has nothing to do with it.
  const links = ca_links && row.ca === group.cluster.ca ? { ca_links } : {}
  tx.put('cluster', theCluster, { ...kept, ...links, ...group.cluster, next_member: member + 1 })
  tx.event(group.event.code, { kind: 'cluster', id: group.cluster.id }, group.event.message)
  for (const key of tx.state.joinTokens.keys()) tx.delete('joinTokens', key)
  if (!group.keepTokens) for (const key of tx.state.tokens.keys()) tx.delete('tokens', key)
  const lostNodes = replaceNodes(tx, group, member, node)
  keepWhatIsHere(tx, group.survivor, node)
  const failedTasks = failLost(tx, group, node)
  const { state: next, events } = tx.end()
  const stored = events.map((event) => {
    const workload = event.subject.kind === 'task' ? next.tasks.get(event.subject.id)?.workload : undefined
    return { event, workload }
  })
  return { state: next, events: stored, member, node, lostNodes, failedTasks }
}

/** Lost hosts join again as new nodes, under their old names if they like. */
function replaceNodes(tx: Transaction, group: NewGroup, member: number, id: string): string[] {
  const old = group.survivor === undefined ? undefined : tx.get('nodes', group.survivor)
  const lost = [...tx.state.nodes.values()].filter((row) => row.id !== group.survivor)
  for (const row of tx.state.nodes.values()) tx.delete('nodes', row.id)
  for (const row of lost)
    tx.event(
      'node.lost',
      { kind: 'node', id: row.id },
      `node ${row.name} is no longer a member: ${group.lost}`,
    )
  const { name, address } = group.node
  tx.put('nodes', id, {
    id, name, member, address, joined_at: tx.at,
    inventory: old?.inventory ?? null, allocatable: old?.allocatable ?? null, gpus: old?.gpus ?? [],
  }) // prettier-ignore
  tx.event('node.joined', { kind: 'node', id }, `node ${name} is the first member, as ${id}`)
  return lost.map((row) => row.name)
}

/** Copies on lost hosts do not count any more; the survivor's are the new node's. */
function keepWhatIsHere(tx: Transaction, survivor: string | undefined, node: string): void {
  const here = (holders: readonly string[]) =>
    survivor !== undefined && holders.includes(survivor) ? [node] : []
  const keep = (kept: Kept | null) => kept && { ...kept, holders: here(kept.holders) }
  for (const task of tx.state.tasks.values()) {
    if (!task.node && !task.artifacts && !task.log && !task.metrics) continue
    tx.put('tasks', task.id, {
      ...task,
      node: task.node !== null && task.node === survivor ? node : task.node,
      artifacts: keep(task.artifacts),
      log: keep(task.log),
      metrics: keep(task.metrics),
    })
  }
  for (const [key, blob] of tx.state.blobs) {
    const holders = here(blob.holders)
    if (holders.length) tx.put('blobs', key, { ...blob, holders })
    else tx.delete('blobs', key)
  }
}

/** What ran on a lost host, and what waits for code that was only there, will never end by itself. */
function failLost(tx: Transaction, { lost }: NewGroup, node: string): string[] {
  const failed: string[] = []
  for (const { id } of tx.state.tasks.values()) {
    // Failing one of a gang may have ended others.
    const task = tx.need('tasks', id, 'task')
    const reason = isFinal(task.state) ? undefined : reasonToFail(tx, task, node, lost)
    if (!reason) continue
    tx.put('tasks', id, { ...task, state: 'Failed', reason, token_sha256: null, finished_at: tx.at })
    taskEvent(tx, task, 'Failed', reason)
    settle(tx, task.workload)
    failed.push(id)
  }
  return failed
}

function reasonToFail(
  tx: Transaction,
  task: {
    readonly state: Parameters<typeof isFinal>[0]
    readonly node: string | null
    readonly workload: string
  },
  node: string,
  lost: string,
): Reason | undefined {
  if (holdsResources(task.state))
    return task.node === node
      ? undefined
      : { code: 'node_lost', message: `what became of it is not known: ${lost}` }
  const upload = tx.get('experiments', task.workload)?.spec.code?.upload
  if (upload === undefined || tx.get('blobs', upload)) return undefined
  return { code: 'code_lost', message: `its uploaded code is not there any more: ${lost}` }
}
