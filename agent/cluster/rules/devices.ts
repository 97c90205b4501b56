import type { Gpu, Inventory } from '../../../contract/index.ts'
import type { NodeRow, State } from '../state.ts'
import type { Transaction } from '../transaction.ts'

/** A device that a node reported and another owns. */
export interface Refused {
  readonly uuid: string
  /** Name of the node that has it. */
  readonly owner: string
}

/** One owner for each device: a UUID that another node reported first stays that node's. */
export function ownedOf(
  { state }: { readonly state: Pick<State, 'nodes'> },
  node: string,
  gpus: readonly string[],
): { owned: string[]; refused: Refused[] } {
  const refused = gpus.flatMap((uuid) => {
    const owner = holdersIn(state.nodes)
      .get(uuid)
      ?.find(({ id }) => id !== node)
    return owner ? [{ uuid, owner: owner.name }] : []
  })
  const others = new Set(refused.map(({ uuid }) => uuid))
  return { owned: gpus.filter((uuid) => !others.has(uuid)), refused }
}

const holders = new WeakMap<State['nodes'], Map<string, NodeRow[]>>()

/** Who has which device; asked for each node of one state when they are listed. */
function holdersIn(nodes: State['nodes']): Map<string, NodeRow[]> {
  const known = holders.get(nodes)
  if (known) return known
  const made = new Map<string, NodeRow[]>()
  for (const row of nodes.values())
    for (const uuid of row.gpus) made.set(uuid, [...(made.get(uuid) ?? []), row])
  holders.set(nodes, made)
  return made
}

/** An event for each device that is newly refused, sick, gone or well again. */
export function tellOfDevices(
  tx: Transaction,
  before: NodeRow,
  inventory: Inventory,
  refused: readonly Refused[],
): void {
  const subject = { kind: 'node', id: before.id } as const
  for (const { uuid, owner } of refused)
    if (!before.refused_gpus?.includes(uuid))
      tx.event('node.gpu_refused', subject, `${uuid} of ${before.name} belongs to ${owner} already`)
  const earlier = new Map(before.inventory?.gpus.map((gpu) => [gpu.uuid, gpu]))
  for (const gpu of inventory.gpus) {
    const was = earlier.get(gpu.uuid)?.fault ?? null
    const fault = gpu.fault ?? null
    if (fault && was?.code !== fault.code)
      tx.event('node.gpu_fault', subject, `${nameOf(gpu)} of ${before.name}: ${fault.message}`, fault)
    if (was && !fault) tx.event('node.gpu_well', subject, `${nameOf(gpu)} of ${before.name} is well again`)
  }
}

export const nameOf = ({ uuid, index, model }: Gpu): string => `GPU ${index} (${model}, ${uuid})`

/** What is wrong with a node's devices, for people. */
export function deviceFaults({ nodes }: Pick<State, 'nodes'>, row: NodeRow): string[] {
  const sick = (row.inventory?.gpus ?? []).flatMap((gpu) =>
    gpu.fault && !gpu.mig ? [`${nameOf(gpu)}: ${gpu.fault.message}.`] : [],
  )
  const { refused } = ownedOf({ state: { nodes } }, row.id, row.refused_gpus ?? [])
  return [
    ...sick,
    ...refused.map(
      ({ uuid, owner }) =>
        `${uuid} is not handed out here: ${owner} reported it first. Two agents on one host each need --share-gpus.`,
    ),
  ]
}
