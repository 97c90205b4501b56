import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { Header } from 'tar'

/** An entry of an archive: its content, or where a link leads. */
export type Entry = Buffer | string | { readonly link: string }

const hex = (content: Buffer | string) => createHash('sha256').update(content).digest('hex')

/** A tar file of small entries, as image tools write them. */
export const tarOf = (entries: Readonly<Record<string, Entry>>): Buffer =>
  Buffer.concat([...tarParts(entries)])

/** The same in pieces, for one that is large. */
export function* tarParts(entries: Readonly<Record<string, Entry>>): Generator<Buffer> {
  for (const [path, entry] of Object.entries(entries)) {
    const isLink = typeof entry === 'object' && 'link' in entry
    const content = isLink ? Buffer.alloc(0) : typeof entry === 'string' ? Buffer.from(entry) : entry
    const about = isLink ? { type: 'SymbolicLink' as const, linkpath: entry.link } : { type: 'File' as const }
    const header = new Header({ path, size: content.length, mode: 0o644, mtime: new Date(0), ...about })
    header.encode()
    if (!header.block) throw new Error(`no header for ${path}`)
    yield header.block
    yield content
    yield Buffer.alloc((512 - (content.length % 512)) % 512)
  }
  yield Buffer.alloc(1024)
}

/** A layer with one file. */
export const layerOf = (text: string | Buffer): Buffer => tarOf({ 'file.txt': text })

export interface Made {
  readonly architecture?: string
  readonly layers?: readonly Buffer[]
  readonly names?: readonly string[]
}

const configOf = ({ architecture = 'amd64', layers = [] }: Made) =>
  JSON.stringify({
    architecture,
    os: 'linux',
    created: '2026-01-02T03:04:05.678901234Z',
    config: { Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${hex(layer)}`) },
  })

/** What engines before 25 save: a folder for each layer, and a link to a layer that was there before. */
export const savedArchive = (images: readonly Made[]): Buffer => Buffer.concat([...savedParts(images)])

/** The same in pieces. */
export function savedParts(images: readonly Made[]): Generator<Buffer> {
  const entries: Record<string, Entry> = {}
  const places = new Map<string, string>()
  const manifest = images.map((image, number) => {
    const config = configOf(image)
    const Layers = (image.layers ?? []).map((layer, i) => {
      const at = `${hex(`${number} ${i}`)}/layer.tar`
      const before = places.get(hex(layer))
      entries[at.replace('layer.tar', 'VERSION')] = '1.0'
      entries[at] = before ? { link: `../${before}` } : layer
      if (!before) places.set(hex(layer), at)
      return at
    })
    entries[`${hex(config)}.json`] = config
    return { Config: `${hex(config)}.json`, RepoTags: image.names ? [...image.names] : null, Layers }
  })
  return tarParts({ ...entries, 'manifest.json': JSON.stringify(manifest) })
}

/** An OCI layout; of several images one index, as for several kinds of machine. Layers are compressed. */
export function layoutArchive(images: readonly Made[], name?: string): Buffer {
  const blobs: Record<string, Buffer> = {}
  const keep = (content: Buffer | string, mediaType: string) => {
    const bytes = Buffer.from(content)
    blobs[`blobs/sha256/${hex(bytes)}`] = bytes
    return { mediaType, digest: `sha256:${hex(bytes)}`, size: bytes.length }
  }
  const type = (what: string) => `application/vnd.oci.image.${what}`
  const manifests = images.map((image) => {
    const { architecture = 'amd64', layers = [] } = image
    const config = keep(configOf(image), type('config.v1+json'))
    const packed = layers.map((layer) => keep(gzipSync(layer), type('layer.v1.tar+gzip')))
    const text = JSON.stringify({
      schemaVersion: 2,
      mediaType: type('manifest.v1+json'),
      config,
      layers: packed,
    })
    return { ...keep(text, type('manifest.v1+json')), platform: { os: 'linux', architecture } }
  })
  const [only] = manifests
  const index = JSON.stringify({ schemaVersion: 2, mediaType: type('index.v1+json'), manifests })
  const top = manifests.length === 1 && only ? only : keep(index, type('index.v1+json'))
  const annotations = name === undefined ? {} : { 'io.containerd.image.name': name }
  const layout = { schemaVersion: 2, manifests: [{ ...top, annotations }] }
  return tarOf({
    'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
    ...blobs,
    'index.json': JSON.stringify(layout),
  })
}
