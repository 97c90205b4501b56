import { holdsResources, type ImagePolicy, isFinal, normalImage, parseImage } from '../../contract/index.ts'
import type { BlobReference, EngineImage, ImageRow, State } from './state.ts'

type Images = Pick<State, 'images'>

/** Engines keep what agents brought there for four weeks, the cluster what was imported for ever. */
export const defaultPolicy: ImagePolicy = {
  engine_unused_seconds: 28 * 86_400,
  cluster_unused_seconds: null,
}

export function policyOf(state: Pick<State, 'imagePolicy'>): ImagePolicy {
  const row = state.imagePolicy.get('self')
  if (!row) return defaultPolicy
  const { engine_unused_seconds, cluster_unused_seconds } = row
  return { engine_unused_seconds, cluster_unused_seconds }
}

/** The imported image that a name, `NAME@sha256:…` or a digest means. */
export function imageFor({ images }: Images, name: string): ImageRow | undefined {
  if (name.startsWith('sha256:')) return images.get(name) ?? images.find((row) => idsOf(row).includes(name))
  const parsed = parseImage(name)
  if (!parsed) return undefined
  if (parsed.digest !== undefined) {
    const { digest } = parsed
    return (
      images.get(digest) ?? images.find(({ manifests }) => manifests.some((one) => one.digest === digest))
    )
  }
  const normal = normalImage(name)
  return images.find(({ names }) => names.includes(normal))
}

/** What engines may call it: by its configuration, or with the containerd store by its manifest or index. */
export function idsOf({ digest, manifests }: ImageRow): string[] {
  return [digest, ...manifests.flatMap((one) => [one.config.digest, one.digest])]
}

/** Every blob of it, each once. Of an index or manifest itself the size is not needed. */
export function blobsOf({
  digest,
  media_type,
  manifests,
}: Pick<ImageRow, 'digest' | 'media_type' | 'manifests'>): BlobReference[] {
  const all = [
    { digest, media_type, bytes: 0 },
    ...manifests.flatMap(({ config, layers, ...manifest }) => [manifest, config, ...layers]),
  ]
  return [...new Map(all.map((one) => [one.digest, one])).values()]
}

/** Of its layers and configurations, as they are kept. */
export function bytesOf(row: ImageRow): number {
  return blobsOf(row).reduce((sum, { bytes }) => sum + bytes, 0)
}

/** A blob's name in the store. */
export const hexOf = (digest: string): string => digest.slice('sha256:'.length)

/** The holders whose copies exist: a node that was removed took its copies along. */
export function keepersOf({ nodes }: Pick<State, 'nodes'>, { holders }: ImageRow): string[] {
  return holders.filter((node) => nodes.has(node))
}

/**
 * Names and digests under which a node's engine has images, for placing a task where its image is. Both the spelling
 * of people and what an imported image is called now are in it: a name that moved on is not there any more.
 */
export function imagesOn(state: Pick<State, 'images' | 'engineImages'>, node: string): ReadonlySet<string> {
  const row = state.engineImages.get(node)
  if (!row) return nothing
  const before = known.get(row)
  if (before?.images === state.images) return before.names
  const names = new Set<string>()
  const ids = new Set(row.images.map(({ id }) => id))
  for (const { id, names: given } of row.images) for (const name of [id, ...given]) names.add(name)
  for (const image of state.images.values()) {
    const here = idsOf(image).some((id) => ids.has(id))
    for (const name of image.names) if (here) names.add(name)
      else names.delete(name) // prettier-ignore
    if (here) names.add(image.digest)
  }
  known.set(row, { images: state.images, names })
  return names
}
const nothing: ReadonlySet<string> = new Set()
const known = new WeakMap<object, { images: State['images']; names: ReadonlySet<string> }>()

/** Does the node's engine have what the name means now? */
export function hasImage(state: Pick<State, 'images' | 'engineImages'>, node: string, name: string): boolean {
  return imagesOn(state, node).has(name.startsWith('sha256:') ? name : normalImage(name))
}

type Wanting = Pick<State, 'experiments' | 'nodes' | 'imageJobs'>

/** Normal names, and digests where these were pinned, of the images that something waits for or runs from, or that a node starts tasks from by default. */
export function wantedNames({ experiments, nodes, imageJobs }: Wanting): Set<string> {
  const wanted = new Set<string>()
  for (const { state, spec } of experiments.values())
    if (!isFinal(state))
      for (const { image, image_digest } of Object.values(spec.roles)) {
        if (image_digest !== undefined) wanted.add(image_digest)
        else if (image) wanted.add(normalImage(image))
      }
  for (const { inventory } of nodes.values())
    if (inventory?.default_image) wanted.add(normalImage(inventory.default_image))
  for (const { kind, image, reason } of imageJobs.values())
    if (kind === 'pull' && !reason) wanted.add(normalImage(image))
  return wanted
}

/** Is it wanted by any of its names, by digest, or by what runs from it? */
export function isWanted(state: State, row: ImageRow, wanted = wantedNames(state)): boolean {
  const ids = idsOf(row)
  if (row.names.some((name) => wanted.has(name))) return true
  if ([...wanted].some((name) => ids.includes(parseImage(name)?.digest ?? name))) return true
  return state.tasks.some(({ state: life, image_id }) => holdsResources(life) && !!image_id && ids.includes(image_id)) // prettier-ignore
}

export interface Garbage {
  readonly engines: readonly { readonly node: string; readonly image: EngineImage }[]
  readonly cluster: readonly ImageRow[]
  readonly kept: readonly { readonly image: string; readonly why: string }[]
}

/**
 * What nobody used for so long: never what runs or is waited for, never what somebody else brought, and never the
 * only copy there is.
 */
export function garbage(state: State, policy: ImagePolicy, now: number): Garbage {
  const wanted = wantedNames(state)
  const kept: { image: string; why: string }[] = []
  const used = usedAt(state)
  const engines = [...state.engineImages].flatMap(([node, { images }]) => {
    if (!state.nodes.has(node)) return []
    const old = images.filter((image) => {
      const last = Math.max(Date.parse(image.since), used.get(`${node}/${image.id}`) ?? 0)
      return image.brought !== null && isOld(last, policy.engine_unused_seconds, now)
    })
    return old.flatMap((image) => {
      const why = whyEngineKeeps(state, node, image, wanted)
      if (why) kept.push({ image: image.names[0] ?? image.id, why: `${nameOf(state, node)}: ${why}` })
      return why ? [] : [{ node, image }]
    })
  })
  const cluster = [...state.images.values()].filter((row) => {
    const last = Math.max(Date.parse(row.imported_at), Date.parse(row.last_used_at ?? row.imported_at))
    if (!isOld(last, policy.cluster_unused_seconds, now)) return false
    const why = whyClusterKeeps(state, row, wanted, engines)
    if (why) kept.push({ image: row.names[0] ?? row.digest, why })
    return !why
  })
  return { engines, cluster, kept }
}

const isOld = (last: number, unused: number | null, now: number) =>
  unused !== null && now - last >= unused * 1000

const nameOf = (state: State, node: string) => state.nodes.get(node)?.name ?? node

/** When a task last ran from each image, by `NODE/ID`. */
function usedAt({ tasks }: State): Map<string, number> {
  const used = new Map<string, number>()
  for (const { node, image_id, started_at, finished_at } of tasks.values()) {
    if (!node || !image_id) continue
    const key = `${node}/${image_id}`
    used.set(key, Math.max(used.get(key) ?? 0, Date.parse(finished_at ?? started_at ?? '') || 0))
  }
  return used
}

function whyEngineKeeps(
  state: State,
  node: string,
  { id, names, brought }: EngineImage,
  wanted: Set<string>,
): string | undefined {
  if (state.tasks.some((task) => task.node === node && task.image_id === id && holdsResources(task.state)))
    return 'a task runs from it'
  const imported = state.images.find((row) => idsOf(row).includes(id))
  if (names.some((name) => wanted.has(name)) || (imported && isWanted(state, imported, wanted)))
    return 'something waits for it'
  if (brought === 'registry' || (imported && keepersOf(state, imported).length > 0)) return undefined
  const elsewhere = [...state.engineImages].some(
    ([other, row]) =>
      other !== node &&
      state.nodes.has(other) &&
      row.images.some((one) => one.id === id && one.brought === null),
  )
  return elsewhere ? undefined : 'it is the only copy'
}

function whyClusterKeeps(
  state: State,
  row: ImageRow,
  wanted: Set<string>,
  leaving: Garbage['engines'],
): string | undefined {
  if (isWanted(state, row, wanted)) return 'something waits for it or runs from it'
  // A name was given to another image on purpose: nobody can ask for this one any more.
  if (row.names.length === 0) return undefined
  const ids = idsOf(row)
  const remains = [...state.engineImages].some(
    ([node, { images }]) =>
      state.nodes.has(node) &&
      images.some(
        ({ id }) => ids.includes(id) && !leaving.some((gone) => gone.node === node && gone.image.id === id),
      ),
  )
  return remains ? undefined : 'it is the only copy'
}
