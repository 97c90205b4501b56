import {
  type Actor,
  type CordonRequest,
  type DrainRequest,
  type Node,
  type NodePatch,
  ProblemError,
  type RebootNotice,
} from '../../contract/index.ts'
import type { NodeCommand } from '../cluster/commands/node.ts'
import type { NodeRow, State } from '../cluster/state.ts'
import { demand } from './access.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'
import { checkQuorumWithout } from './quorum.ts'
import { nodeSeenBy } from './seen.ts'
import { livenessOf, nodeView } from './views.ts'

export interface NodeService {
  list(actor: Actor, query: PageQuery & { consistency: Consistency }): Promise<Page<Node>>
  get(actor: Actor, ref: string, query: { consistency: Consistency }): Promise<Node>
  /** For good: its agent stops when it hears of it. */
  remove(actor: Actor, ref: string, options: { force: boolean }): Promise<void>
  /** Its name and labels. */
  edit(actor: Actor, ref: string, patch: NodePatch): Promise<Node>
  cordon(actor: Actor, ref: string, request: CordonRequest): Promise<Node>
  uncordon(actor: Actor, ref: string): Promise<Node>
  drain(actor: Actor, ref: string, request: DrainRequest): Promise<Node>
  rebootNotice(actor: Actor, ref: string, request: RebootNotice): Promise<Node>
  /** A person vouches that a silent host does not run. */
  confirmDown(actor: Actor, ref: string): Promise<Node>
}

export function createNodes({ cluster, now = Date.now }: ServiceDeps): NodeService {
  /** Proposes what `make` makes of the node, and answers how it is then. */
  const operate = async (
    actor: Actor,
    ref: string,
    make: (node: NodeRow) => NodeCommand[],
  ): Promise<Node> => {
    demand(actor, 'node:admin')
    await cluster.barrier()
    const node = nodeFor(cluster.state(), ref)
    for (const command of make(node)) await cluster.propose(command, actor)
    const state = cluster.state()
    return nodeView(cluster, state, nodeFor(state, node.id))
  }
  const deadline = ({ deadline_seconds }: RebootNotice) =>
    new Date(now() + deadline_seconds * 1000).toISOString()
  return {
    async list(actor, query) {
      demand(actor, 'node:read')
      await settled(cluster, query.consistency)
      const state = cluster.state()
      const rows = [...state.nodes.values()].toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      const view = (row: NodeRow) => nodeSeenBy(actor, state, nodeView(cluster, state, row))
      return pageOf(rows, query, 'ascending', keyOf, view, cluster.status().applied)
    },
    async get(actor, ref, { consistency }) {
      demand(actor, 'node:read')
      await settled(cluster, consistency)
      const state = cluster.state()
      return nodeSeenBy(actor, state, nodeView(cluster, state, nodeFor(state, ref)))
    },
    async remove(actor, ref, { force }) {
      demand(actor, 'node:admin')
      await cluster.barrier()
      const { id } = nodeFor(cluster.state(), ref)
      checkQuorumWithout(cluster, id)
      await cluster.propose({ type: 'node.remove', node: id, force }, actor)
    },
    edit: (actor, ref, { name, labels }) =>
      operate(actor, ref, ({ id }) => [
        ...(name === undefined ? [] : [{ type: 'node.rename' as const, node: id, name }]),
        ...(labels === undefined ? [] : [{ type: 'node.label' as const, node: id, labels }]),
      ]),
    cordon: (actor, ref, { reason }) =>
      operate(actor, ref, ({ id }) => [{ type: 'node.cordon', node: id, reason }]),
    uncordon: (actor, ref) => operate(actor, ref, ({ id }) => [{ type: 'node.uncordon', node: id }]),
    drain: (actor, ref, request) =>
      operate(actor, ref, ({ id }) => {
        const { reason, grace_seconds = null, power_off } = request
        return [
          { type: 'node.drain', node: id, reason, deadline: deadline(request), grace_seconds, power_off },
        ]
      }),
    rebootNotice: (actor, ref, request) =>
      operate(actor, ref, ({ id }) => {
        const { reason, grace_seconds = null } = request
        return [{ type: 'node.reboot_notice', node: id, reason, deadline: deadline(request), grace_seconds }]
      }),
    confirmDown: (actor, ref) =>
      operate(actor, ref, ({ id, name }) => {
        if (livenessOf(cluster, id).liveness === 'ready')
          throw new ProblemError('conflict', `${name} answers: it is not down`, {
            hint: 'To empty a host that works, drain it. To take it out for good, remove it.',
          })
        return [{ type: 'node.confirm_down', node: id }]
      }),
  }
}

/** In the order they joined. */
const keyOf = (row: NodeRow) => String(row.member).padStart(12, '0')

/** By id or name. */
export function nodeFor(state: State, ref: string): NodeRow {
  const row = state.nodes.get(ref) ?? state.nodes.find((node) => node.name === ref)
  if (!row)
    throw new ProblemError('not_found', `there is no node ${ref}`, { hint: 'See `submarine node list`.' })
  return row
}
