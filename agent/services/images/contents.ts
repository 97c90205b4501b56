import { Readable } from 'node:stream'
import { z } from 'zod'
import { normalImage, parseImage, ProblemError } from '../../../contract/index.ts'
import type { BlobReference, ImageManifest } from '../../cluster/state.ts'
import type { Blobs } from '../../store/store.ts'
import { notAnArchive, type Stored } from './archive.ts'

/** An image found in an archive. */
export interface Contained {
  readonly digest: string
  readonly media_type: string
  readonly manifests: readonly ImageManifest[]
  readonly names: readonly string[]
  readonly created_at: string | null
}

const oci = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
}
const indexes = [oci.index, 'application/vnd.docker.distribution.manifest.list.v2+json']

const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected a SHA-256 digest')
const Descriptor = z.object({
  mediaType: z.string().max(300),
  digest: Digest,
  size: z.int().min(0),
  annotations: z.record(z.string(), z.string()).optional(),
})
const Index = z.object({ manifests: z.array(Descriptor).max(1000) })
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).max(1000) })
const Config = z.object({
  architecture: z.string().min(1).max(100),
  os: z.string().min(1).max(100),
  variant: z.string().max(100).optional(),
  created: z.string().max(100).optional(),
  rootfs: z.object({ diff_ids: z.array(Digest).max(1000) }),
})
/** `manifest.json` as `docker save` has written it since 2016. */
const Saved = z.array(
  z.object({
    Config: z.string().max(4096),
    RepoTags: z.array(z.string().max(512)).nullish(),
    Layers: z.array(z.string().max(4096)).max(1000),
  }),
)

/** Everything these functions read is a small JSON file of the archive. */
const mostJson = 8 << 20

/** What images an archive holds. What an older engine saved gets the manifest that registries want. */
export async function contents(files: Stored, blobs: Pick<Blobs, 'read' | 'put'>): Promise<Contained[]> {
  const archive = new Archive(files, blobs)
  const found = files.has('index.json') ? await ofLayout(archive) : await ofSaved(archive)
  if (found.length === 0) throw notAnArchive('it names no image')
  return merged(found)
}

class Archive {
  readonly files: Stored
  readonly #blobs: Pick<Blobs, 'read' | 'put'>

  constructor(files: Stored, blobs: Pick<Blobs, 'read' | 'put'>) {
    this.files = files
    this.#blobs = blobs
  }

  async json<T extends z.ZodType>(at: string, shape: T): Promise<z.output<T>> {
    const file = this.files.get(at)
    if (!file) throw notAnArchive(`${at} is missing`)
    if (file.bytes > mostJson) throw notAnArchive(`${at} is too large`)
    const parts: Buffer[] = []
    for await (const chunk of this.#blobs.read(file.sha256)) parts.push(chunk as Buffer)
    const parsed = shape.safeParse(parse(Buffer.concat(parts).toString()))
    if (!parsed.success) throw notAnArchive(`${at} reads otherwise: ${z.prettifyError(parsed.error)}`)
    return parsed.data
  }

  /** A file of a layout, which names it by its digest. */
  blob({ digest, size, mediaType }: z.infer<typeof Descriptor>): BlobReference {
    const at = pathOf(digest)
    const file = this.files.get(at)
    if (!file) throw notAnArchive(`${at} is missing`)
    if (`sha256:${file.sha256}` !== digest || file.bytes !== size) throw notAnArchive(`${at} is damaged`)
    return { digest, media_type: mediaType, bytes: size }
  }

  async put(text: string): Promise<{ digest: string; bytes: number }> {
    const { sha256, bytes } = await this.#blobs.put(Readable.from([Buffer.from(text)]))
    return { digest: `sha256:${sha256}`, bytes }
  }
}

const pathOf = (digest: string) => `blobs/sha256/${digest.slice('sha256:'.length)}`

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// --- OCI layouts, and what engines since 25 save -------------------------------------------------------------

async function ofLayout(archive: Archive): Promise<Contained[]> {
  const { manifests } = await archive.json('index.json', Index)
  const saved = archive.files.has('manifest.json') ? await archive.json('manifest.json', Saved) : []
  const found: Contained[] = []
  for (const top of manifests) {
    if (isAttestation(top)) continue
    const image = await ofDescriptor(archive, top)
    const ids = image.manifests.map(({ config }) => pathOf(config.digest))
    const tags = saved.filter(({ Config: at }) => ids.includes(at)).flatMap(({ RepoTags }) => RepoTags ?? [])
    found.push({ ...image, names: [...namesIn(top.annotations), ...named(tags)] })
  }
  return found
}

async function ofDescriptor(archive: Archive, top: z.infer<typeof Descriptor>): Promise<Contained> {
  const { digest, media_type } = archive.blob(top)
  if (!indexes.includes(media_type)) {
    const { manifest, created_at } = await ofManifest(archive, top)
    return { digest, media_type, manifests: [manifest], names: [], created_at }
  }
  const { manifests: children } = await archive.json(pathOf(digest), Index)
  const held = children.filter((child) => !isAttestation(child) && archive.files.has(pathOf(child.digest)))
  const manifests: ImageManifest[] = []
  let created: string | null = null
  for (const child of held) {
    const one = await ofManifest(archive, child)
    created ??= one.created_at
    // Signatures and the like are listed as manifests too, for no machine.
    if (one.manifest.os !== 'unknown') manifests.push(one.manifest)
  }
  if (manifests.length === 0) throw notAnArchive(`of the index ${digest} no image is in it`)
  return { digest, media_type, manifests, names: [], created_at: created }
}

const isAttestation = ({ annotations }: z.infer<typeof Descriptor>) =>
  annotations?.['vnd.docker.reference.type'] !== undefined

async function ofManifest(
  archive: Archive,
  descriptor: z.infer<typeof Descriptor>,
): Promise<{ manifest: ImageManifest; created_at: string | null }> {
  const self = archive.blob(descriptor)
  const { config, layers } = await archive.json(pathOf(self.digest), Manifest)
  const about = await archive.json(pathOf(config.digest), Config)
  const parts = { config: archive.blob(config), layers: layers.map((layer) => archive.blob(layer)) }
  return { manifest: { ...self, ...parts, ...platformOf(about) }, created_at: timeOf(about) }
}

const platformOf = ({ os, architecture, variant }: z.infer<typeof Config>) => ({
  os,
  architecture,
  ...(variant === undefined ? {} : { variant }),
})

function timeOf({ created }: z.infer<typeof Config>): string | null {
  const time = Date.parse(created ?? '')
  return Number.isNaN(time) ? null : new Date(time).toISOString()
}

/** containerd and buildkit write whole names; the layout's own annotation is often the tag alone. */
function namesIn(annotations: Record<string, string> = {}): string[] {
  const whole = annotations['io.containerd.image.name']
  const ref = annotations['org.opencontainers.image.ref.name']
  return named([...(whole ? [whole] : []), ...(ref && /[/:]/.test(ref) ? [ref] : [])])
}

const named = (names: readonly string[]) =>
  names.filter((name) => parseImage(name)?.tag !== undefined).map(normalImage)

// --- what older engines save ---------------------------------------------------------------------------------

async function ofSaved(archive: Archive): Promise<Contained[]> {
  if (!archive.files.has('manifest.json'))
    throw notAnArchive('it has neither a manifest.json nor an index.json')
  const saved = await archive.json('manifest.json', Saved)
  const found: Contained[] = []
  for (const { Config: at, RepoTags, Layers } of saved) {
    const about = await archive.json(at, Config)
    const config = reference(archive, at, oci.config)
    const { diff_ids } = about.rootfs
    if (diff_ids.length !== Layers.length) throw notAnArchive(`${at} names ${diff_ids.length} layers, not ${Layers.length}`) // prettier-ignore
    // A layer is its own digest's content unless whoever saved it has compressed it.
    const layers = Layers.map((layer, i) => {
      const plain = reference(archive, layer, oci.layer)
      return plain.digest === diff_ids[i] ? plain : { ...plain, media_type: `${oci.layer}+gzip` }
    })
    const { digest, bytes } = await archive.put(manifestText(config, layers))
    const manifest = { digest, bytes, media_type: oci.manifest, config, layers, ...platformOf(about) }
    const created_at = timeOf(about)
    found.push({ digest, media_type: oci.manifest, manifests: [manifest], names: named(RepoTags ?? []), created_at }) // prettier-ignore
  }
  return found
}

function reference(archive: Archive, at: string, media_type: string): BlobReference {
  const file = archive.files.get(at)
  if (!file) throw notAnArchive(`${at} is missing`)
  return { digest: `sha256:${file.sha256}`, media_type, bytes: file.bytes }
}

/** The same configuration and layers always make the same text, and so the same digest. */
function manifestText(config: BlobReference, layers: readonly BlobReference[]): string {
  const descriptor = ({ media_type: mediaType, digest, bytes: size }: BlobReference) => ({ mediaType, digest, size }) // prettier-ignore
  const mediaType = oci.manifest
  return JSON.stringify({ schemaVersion: 2, mediaType, config: descriptor(config), layers: layers.map(descriptor) }) // prettier-ignore
}

/** An image that stands in the archive under several names is one image. */
function merged(found: readonly Contained[]): Contained[] {
  const byDigest = new Map<string, Contained>()
  for (const image of found) {
    const names = [...(byDigest.get(image.digest)?.names ?? []), ...image.names]
    byDigest.set(image.digest, { ...image, names: [...new Set(names)] })
  }
  return [...byDigest.values()]
}

/** The images under the name that was asked for, or under their own. */
export function withNames(found: readonly Contained[], name: string | undefined): Contained[] {
  const [only] = found
  if (name !== undefined && found.length === 1 && only) return [{ ...only, names: [normalImage(name)] }]
  if (name !== undefined)
    throw new ProblemError(
      'invalid_request',
      `the archive holds ${found.length} images, so one name does not do`,
      {
        hint: 'Leave the name out to import them under their own, or save one image alone.',
      },
    )
  const nameless = found.find(({ names }) => names.length === 0)
  if (nameless)
    throw new ProblemError(
      'invalid_request',
      `the archive does not say what the image ${nameless.digest} is called`,
      {
        hint: 'Give it a name, such as --name team/tool:v1.',
      },
    )
  return [...found]
}
