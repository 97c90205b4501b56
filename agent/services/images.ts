import type { Readable } from 'node:stream'
import {
  type Actor,
  type Image,
  type ImageJob,
  type ImagePolicy,
  normalImage,
  ProblemError,
} from '../../contract/index.ts'
import { blobsOf, bytesOf, garbage, hexOf, imageFor, policyOf } from '../cluster/images.ts'
import type { NodeRow, State } from '../cluster/state.ts'
import { demand, demandOfOwn } from './access.ts'
import { copiedTogether, limited, mostUploads, tooLarge, type Upload } from './blobs.ts'
import { type Consistency, type ServiceDeps, settled } from './context.ts'
import { notAnArchive, storeArchive } from './images/archive.ts'
import { contents, type Contained, withNames } from './images/contents.ts'
import { imageViews, importedView, keyOf } from './images/views.ts'
import { nodeFor } from './nodes.ts'
import { type Page, pageOf, type PageQuery } from './paging.ts'

type Reading = { consistency: Consistency }

export interface ImageService {
  /** Layers are durable on two nodes (one where only one exists) when it resolves. */
  import(
    actor: Actor,
    body: Readable,
    upload: Upload & { name?: string | undefined },
  ): Promise<{ items: Image[] }>
  list(actor: Actor, query: PageQuery & Reading & { imported: boolean }): Promise<Page<Image>>
  get(actor: Actor, name: string, query: Reading): Promise<Image>
  /** By name: that name. By digest, or with its last name: the cluster's copies. */
  remove(actor: Actor, name: string): Promise<void>
  /** The nodes do it when they hear of it. */
  ask(actor: Actor, kind: 'pull' | 'remove', job: ImageJob): Promise<{ image: string; nodes: string[] }>
  policy(actor: Actor, query: Reading): Promise<ImagePolicy>
  setPolicy(actor: Actor, policy: ImagePolicy): Promise<ImagePolicy>
  collect(actor: Actor, options: Collect): Promise<Collected>
}

interface Collect {
  readonly unused_seconds?: number | undefined
  readonly dry_run: boolean
}

interface Collected {
  engines: { node: string; image: string; bytes: number }[]
  cluster: { image: string; bytes: number }[]
  kept: { image: string; why: string }[]
}

export function createImages(deps: ServiceDeps): ImageService {
  const { cluster, space, maxUpload = 64 * 1024 ** 3, now = Date.now } = deps
  let running = 0
  const view = (digest: string): Image => {
    const state = cluster.state()
    return importedView(cluster, state, need(state, digest))
  }

  return {
    async import(actor, body, { name, sha256, bytes = 0 }) {
      demand(actor, 'image:create')
      if (bytes > maxUpload) throw tooLarge(maxUpload)
      if (running >= mostUploads) throw new ProblemError('busy', `${running} imports run already`)
      space.check()
      running++
      try {
        const found = await read(deps, limited(body, maxUpload), { name, sha256, most: maxUpload })
        for (const image of found) await take(deps, actor, image)
        return { items: found.map(({ digest }) => view(digest)) }
      } finally {
        running--
      }
    },
    async list(actor, query) {
      demand(actor, 'image:read')
      await settled(cluster, query.consistency)
      const images = imageViews(cluster, cluster.state(), query.imported)
      return pageOf(images, query, 'ascending', keyOf, (image) => image, cluster.status().applied)
    },
    async get(actor, name, { consistency }) {
      demand(actor, 'image:read')
      await settled(cluster, consistency)
      const state = cluster.state()
      const row = imageFor(state, name)
      if (row) return importedView(cluster, state, row)
      const normal = normalImage(name)
      const found = imageViews(cluster, state, false).find(
        ({ id, names }) => id === name || names.includes(normal),
      )
      if (!found) throw unknownImage(name)
      return found
    },
    async remove(actor, name) {
      demandOfOwn(actor, 'image:delete')
      await cluster.barrier()
      const { digest, names, imported_by } = need(cluster.state(), name)
      demand(actor, 'image:delete', { owner: imported_by.replace(/^user:/, '') })
      const normal = normalImage(name)
      const one = names.includes(normal) ? { name: normal } : {}
      await cluster.propose({ type: 'image.remove', digest, ...one }, actor)
    },
    async ask(actor, kind, { image, nodes }) {
      demand(actor, kind === 'pull' ? 'image:create' : 'image:delete')
      await cluster.barrier()
      const state = cluster.state()
      const chosen = nodes ? nodes.map((ref) => nodeFor(state, ref)) : withEngine(state, kind, image)
      if (chosen.length === 0) throw nobody(kind, image)
      const ids = chosen.map(({ id }) => id)
      await cluster.propose({ type: 'image.job', kind, image, nodes: ids }, actor)
      return { image: normalImage(image), nodes: chosen.map(({ name }) => name) }
    },
    async policy(actor, { consistency }) {
      demand(actor, 'image:read')
      await settled(cluster, consistency)
      return policyOf(cluster.state())
    },
    async setPolicy(actor, policy) {
      demand(actor, 'cluster:admin')
      await cluster.propose({ type: 'image.policy', policy }, actor)
      return policy
    },
    async collect(actor, { unused_seconds, dry_run }) {
      demand(actor, 'image:delete')
      await cluster.barrier()
      const state = cluster.state()
      const policy: ImagePolicy =
        unused_seconds === undefined
          ? policyOf(state)
          : { engine_unused_seconds: unused_seconds, cluster_unused_seconds: unused_seconds }
      const found = garbage(state, policy, now())
      if (!dry_run) await drop(deps, actor, found)
      return collected(state, found)
    },
  }
}

function need(state: State, name: string) {
  const row = imageFor(state, name)
  if (!row) throw unknownImage(name)
  return row
}

const unknownImage = (name: string) =>
  new ProblemError('not_found', `the cluster keeps no image ${name}`, { hint: 'See `submarine image list`.' })

async function read(
  deps: ServiceDeps,
  body: Readable,
  { name, sha256, most }: Upload & { name?: string | undefined; most: number },
) {
  const stored = await storeArchive(body, deps.blobs, most)
  if (sha256 !== undefined && sha256 !== stored.sha256)
    throw notAnArchive(`it has SHA-256 ${stored.sha256}, not ${sha256}`)
  return withNames(await contents(stored.files, deps.blobs), name)
}

/** All of it goes to the same second node, which can then stand in for this one. */
async function take(deps: ServiceDeps, actor: Actor, image: Contained): Promise<void> {
  const { cluster } = deps
  const { digest, media_type, manifests, names, created_at } = image
  const files = blobsOf(image).map((blob) => ({ sha256: hexOf(blob.digest), bytes: blob.bytes }))
  const holders = await copiedTogether(deps, files, digest)
  const command = { type: 'image.import', digest, media_type, manifests, names, created_at } as const
  await cluster.propose({ ...command, holders }, actor)
}

function withEngine(state: State, kind: 'pull' | 'remove', image: string): NodeRow[] {
  const able = [...state.nodes.values()].filter(({ inventory }) => inventory?.runtimes.includes('docker'))
  if (kind === 'pull') return able
  const ids = imageFor(state, image)?.manifests.map(({ config }) => config.digest) ?? [image]
  const normal = normalImage(image)
  return able.filter(({ id }) =>
    state.engineImages.get(id)?.images.some((one) => ids.includes(one.id) || one.names.includes(normal)),
  )
}

const nobody = (kind: 'pull' | 'remove', image: string) =>
  kind === 'pull'
    ? new ProblemError('conflict', 'no node has a Docker Engine', {
        hint: 'Start Docker on a node, and its agent with access to it; see `submarine node list`.',
      })
    : new ProblemError('conflict', `no node has ${image} in its engine`, {
        hint: 'See `submarine image list` for who has which.',
      })

type Garbage = ReturnType<typeof garbage>

async function drop({ cluster }: ServiceDeps, actor: Actor, found: Garbage): Promise<void> {
  for (const { node, image } of found.engines) {
    const name = image.names[0] ?? image.id
    await cluster.propose({ type: 'image.job', kind: 'remove', image: name, nodes: [node] }, actor)
  }
  for (const { digest } of found.cluster)
    await cluster.propose({ type: 'image.remove', digest }, actor).catch((error: unknown) => {
      // Wanted since it was looked at: it stays.
      if (!(error instanceof ProblemError && ['conflict', 'not_found'].includes(error.code))) throw error
    })
}

function collected(state: State, { engines, cluster, kept }: Garbage): Collected {
  return {
    engines: engines.map(({ node, image }) => ({
      node: state.nodes.get(node)?.name ?? node,
      image: image.names[0] ?? image.id,
      bytes: image.bytes,
    })),
    cluster: cluster.map((row) => ({ image: row.names[0] ?? row.digest, bytes: bytesOf(row) })),
    kept: [...kept],
  }
}
