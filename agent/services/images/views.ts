import type { Image } from '../../../contract/index.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import { bytesOf, idsOf, keepersOf } from '../../cluster/images.ts'
import type { EngineImage, ImageRow, NodeRow, State } from '../../cluster/state.ts'

type OnNode = Image['nodes'][number]

/** Every image that the cluster keeps or an engine has, imported ones first, by name. */
export function imageViews(cluster: Cluster, state: State, imported: boolean): Image[] {
  const kept = [...state.images.values()].map((row) => importedView(cluster, state, row))
  const all = imported ? kept : [...kept, ...engineViews(cluster, state)]
  return all.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
}

export const keyOf = (image: Image): string =>
  `${image.imported ? 0 : 1} ${(image.names[0] ?? '~').slice(0, 180)} ${image.id}`

export function importedView(cluster: Cluster, state: State, row: ImageRow): Image {
  const ids = idsOf(row)
  const holders = keepersOf(state, row)
  const nodes = nodesOf(cluster, state, [...row.names, row.digest], (node, images) => ({
    engine: images.some(({ id }) => ids.includes(id)),
    layers: holders.includes(node.id),
  }))
  return {
    id: row.digest,
    names: [...row.names],
    imported: true,
    platforms: row.manifests.map(({ os, architecture }) => ({ os, architecture })),
    bytes: bytesOf(row),
    layers: row.manifests[0]?.layers.length ?? 0,
    copies: holders.length,
    created_at: row.created_at,
    imported_at: row.imported_at,
    imported_by: row.imported_by,
    last_used_at: row.last_used_at,
    nodes,
    resource_version: row.resource_version,
  }
}

/** What only engines have, each image once. */
function engineViews(cluster: Cluster, state: State): Image[] {
  const imported = new Set([...state.images.values()].flatMap(idsOf))
  const found = new Map<string, { image: EngineImage; names: Set<string>; version: number }>()
  for (const [node, { images, resource_version }] of state.engineImages) {
    if (!state.nodes.has(node)) continue
    for (const image of images) {
      if (imported.has(image.id)) continue
      const known = found.get(image.id)
      for (const name of image.names) known?.names.add(name)
      if (known) known.version = Math.max(known.version, resource_version)
      else found.set(image.id, { image, names: new Set(image.names), version: resource_version })
    }
  }
  return [...found.values()].map(({ image, names, version }) => ({
    id: image.id,
    names: [...names],
    imported: false,
    platforms: [{ os: image.os, architecture: image.architecture }],
    bytes: image.bytes,
    layers: null,
    copies: 0,
    created_at: null,
    imported_at: null,
    imported_by: null,
    last_used_at: null,
    nodes: nodesOf(cluster, state, [...names], (_, images) => ({
      engine: images.some(({ id }) => id === image.id),
      layers: false,
    })),
    resource_version: version,
  }))
}

function nodesOf(
  cluster: Cluster,
  state: State,
  names: readonly string[],
  has: (node: NodeRow, images: readonly EngineImage[]) => Pick<OnNode, 'engine' | 'layers'>,
): OnNode[] {
  const live = cluster.peers.liveness()
  return [...state.nodes.values()]
    .toSorted((a, b) => a.member - b.member)
    .map((node) => {
      const pull = live.get(node.id)?.usage?.pulls?.find(({ image }) => names.includes(image))
      const job = names.map((name) => state.imageJobs.get(`${node.id}/${name}`)).find(Boolean)
      return {
        node: node.id,
        name: node.name,
        ...has(node, state.engineImages.get(node.id)?.images ?? []),
        pull: pull ? { bytes: pull.bytes, total: pull.total } : null,
        job: job ? { kind: job.kind, reason: job.reason } : null,
      }
    })
}
