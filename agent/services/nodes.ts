import { type Actor, type Node, ProblemError } from '../../contract/index.ts'
import type { NodeRow, State } from '../cluster/state.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { checkQuorumWithout } from './quorum.ts'
import { nodeView } from './views.ts'

export interface NodeService {
  list(actor: Actor, query: PageQuery & { consistency: Consistency }): Promise<Page<Node>>
  get(actor: Actor, ref: string, query: { consistency: Consistency }): Promise<Node>
  /** For good: its agent stops when it hears of it. */
  remove(actor: Actor, ref: string, options: { force: boolean }): Promise<void>
}

export function createNodes({ cluster }: ServiceDeps): NodeService {
  return {
    async list(actor, query) {
      demand(actor, 'node:read')
      await settled(cluster, query.consistency)
      const state = cluster.state()
      const rows = [...state.nodes.values()].toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      const view = (row: NodeRow) => nodeView(cluster, state, row)
      return pageOf(rows, query, 'ascending', keyOf, view, cluster.status().applied)
    },
    async get(actor, ref, { consistency }) {
      demand(actor, 'node:read')
      await settled(cluster, consistency)
      const state = cluster.state()
      return nodeView(cluster, state, nodeFor(state, ref))
    },
    async remove(actor, ref, { force }) {
      demand(actor, 'node:admin')
      await cluster.barrier()
      const { id } = nodeFor(cluster.state(), ref)
      checkQuorumWithout(cluster, id)
      await cluster.propose({ type: 'node.remove', node: id, force }, actor)
    },
  }
}

/** In the order they joined. */
const keyOf = (row: NodeRow) => String(row.member).padStart(12, '0')

/** By id or name. */
function nodeFor(state: State, ref: string): NodeRow {
  const row = state.nodes.get(ref) ?? state.nodes.find((node) => node.name === ref)
  if (!row)
    throw new ProblemError('not_found', `there is no node ${ref}`, { hint: 'See `submarine node list`.' })
  return row
}
